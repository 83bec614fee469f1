// Connections that take a second, while signals interrupt their callers all the time: each says by its errno how it went.
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLERS 12

static void handle(int signal) {
    struct timespec pause = {0, 30000000};
    nanosleep(&pause, NULL);
}

int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof at;
    int heard = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(heard, (void *)&at, length) || listen(heard, 0) || getsockname(heard, (void *)&at, &length)) return 1;
    // There is no room for more, so that the next to come try it again after a second.
    for (int n = 0; n < 4; n++) connect(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), (void *)&at, length);
    pid_t callers[CALLERS];
    for (int n = 0; n < CALLERS; n++) {
        if ((callers[n] = fork())) continue;
        struct sigaction act = {.sa_handler = handle, .sa_flags = SA_RESTART};
        struct itimerval often = {{0, 40000}, {0, 40000}};
        int one = socket(AF_INET, SOCK_STREAM, 0);
        sigaction(SIGALRM, &act, NULL);
        setitimer(ITIMER_REAL, &often, NULL);
        _exit(connect(one, (void *)&at, length) ? errno : 0);
    }
    struct timespec pause = {0, 500000000};
    nanosleep(&pause, NULL);
    listen(heard, 64);
    pid_t taker = fork();
    while (taker == 0) accept(heard, NULL, NULL);
    for (int n = 0; n < CALLERS; n++) {
        int status;
        waitpid(callers[n], &status, 0);
        printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
    kill(taker, SIGKILL);
}
