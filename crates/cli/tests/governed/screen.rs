//! A real terminal: tmux, driven by keys and read as text. Nothing here waits but for what it wants to see.

use flyball_testkit::user::User;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a screen may take to show what is waited for: machines that run tests can be slow.
const PATIENCE: Duration = Duration::from_secs(90);

/// A terminal of its own server, with a shell in it. Ends with the value.
pub struct Screen {
    user: User,
    home: PathBuf,
    socket: PathBuf,
}

impl Screen {
    /// A shell on a terminal of that size, in `folder`, with these variables beside its user's own.
    pub fn new(user: User, scratch: &Path, folder: &Path, size: (u16, u16), env: &[(&str, &str)]) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // A socket's path may be at most 107 bytes.
        let socket = scratch.join(format!("tmux{number}"));
        let screen = Self { user, home: scratch.join("home"), socket };
        let mut start = screen.tmux();
        start.env("SHELL", "/bin/sh").env("LANG", "C.UTF-8").env("TERM", "xterm-256color").current_dir(folder);
        start.args([
            "-f",
            "/dev/null",
            "-u",
            "new-session",
            "-d",
            "-x",
            &size.0.to_string(),
            "-y",
            &size.1.to_string(),
        ]);
        for (name, value) in env {
            start.arg("-e").arg(format!("{name}={value}"));
        }
        // A shell with job control, and a prompt that says nothing about where it runs.
        start.args(["-e", "PS1=ready> ", "exec bash --norc --noprofile -i"]);
        let output = start.output().unwrap();
        assert!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
        screen.tell(&["set-option", "-g", "allow-rename", "on"]);
        screen.wait_for("ready>");
        screen
    }

    fn tmux(&self) -> Command {
        let mut command = self.user.command("tmux", &self.home);
        command.arg("-S").arg(&self.socket);
        command
    }

    fn tell(&self, words: &[&str]) -> String {
        let output = self.tmux().args(words).output().unwrap();
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Keys by tmux's names.
    pub fn press(&self, keys: &[&str]) {
        self.tell(&[&["send-keys"], keys].concat());
    }

    /// Text as it would be typed.
    pub fn type_in(&self, text: &str) {
        self.tell(&["send-keys", "-l", text]);
    }

    /// A line for the shell.
    pub fn line(&self, text: &str) {
        self.type_in(text);
        self.press(&["Enter"]);
    }

    pub fn text(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// With the sequences that set colour and weight.
    pub fn raw(&self) -> String {
        self.tell(&["capture-pane", "-p", "-e"])
    }

    /// A variable of tmux's, such as `cursor_flag`.
    pub fn ask(&self, name: &str) -> String {
        self.tell(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.tell(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    pub fn wait_for(&self, wanted: &str) -> String {
        self.wait(wanted, |text| text.contains(wanted))
    }

    pub fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if is_there(&text) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "waited for {what}:\n{text}");
            std::thread::sleep(Duration::from_millis(40));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").output();
    }
}
