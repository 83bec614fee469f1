# Processes by every way that multiprocessing has, with what they share.
import multiprocessing as mp, os, sys
from multiprocessing import shared_memory
from multiprocessing.managers import BaseManager


def square(n):
    return n * n


def add(lock, total, name, slot, times):
    memory = shared_memory.SharedMemory(name=name)
    for _ in range(times):
        with lock:
            total.value += 1
            memory.buf[slot] += 1
    memory.close()


def talk(connection):
    connection.send({"pid is mine": os.getpid() != os.getppid(), "got": connection.recv()})
    connection.close()


def log(queue, number):
    with open(f"out-{number}", "w") as file:
        file.write(str(number))
    queue.put(number)


def main():
    for method in ("fork", "spawn", "forkserver"):
        context = mp.get_context(method)
        with context.Pool(3) as pool:
            print(method, "pool", pool.map(square, range(10)), flush=True)
        memory = shared_memory.SharedMemory(create=True, size=64)
        lock, total = context.Lock(), context.Value("i", 0)
        workers = [context.Process(target=add, args=(lock, total, memory.name, slot, 40)) for slot in range(4)]
        [worker.start() for worker in workers], [worker.join() for worker in workers]
        print(method, "shared", total.value, bytes(memory.buf[:4]), [worker.exitcode for worker in workers], flush=True)
        memory.close(), memory.unlink()
        ours, theirs = context.Pipe()
        worker = context.Process(target=talk, args=(theirs,))
        worker.start(), ours.send("hello"), print(method, "pipe", ours.recv(), flush=True), worker.join()
        queue = context.Queue()
        workers = [context.Process(target=log, args=(queue, number)) for number in range(4)]
        [worker.start() for worker in workers]
        print(method, "queue", sorted(queue.get(timeout=60) for _ in workers), flush=True)
        [worker.join() for worker in workers]
        with context.Manager() as manager:
            shared = manager.dict(a=1)
            worker = context.Process(target=shared.update, args=({"b": 2},))
            worker.start(), worker.join()
            print(method, "manager", dict(shared), flush=True)
        event, barrier = context.Event(), context.Barrier(2)
        worker = context.Process(target=lambda: None) if method == "fork" else context.Process(target=square, args=(2,))
        worker.start(), worker.join(), event.set()
        print(method, "event", event.wait(1), worker.exitcode, flush=True)
        worker = context.Process(target=os.kill, args=(os.getpid(), 0))
        worker.start(), worker.join()
        sleeper = context.Process(target=__import__("time").sleep, args=(60,))
        sleeper.start(), sleeper.terminate(), sleeper.join()
        print(method, "terminated", sleeper.exitcode, flush=True)


if __name__ == "__main__":
    main()
