//! A terminal of one's own: a pseudo-terminal, a program on it, and what its screen shows.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, Winsize, tcgetattr, tcsetwinsize};

pub struct Terminal {
    child: Child,
    keyboard: File,
    /// Our own end of the program's side: its modes are the terminal's.
    side: File,
    written: Arc<Mutex<Vec<u8>>>,
    size: (u16, u16),
}

impl Terminal {
    /// Starts a program on a terminal that is its controlling one.
    pub fn start(columns: u16, rows: u16, command: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let side = open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let side = File::from(side);
        let end = || Stdio::from(side.try_clone().unwrap());
        let keyboard = File::from(master);
        let size = (columns, rows);
        set(&side, size);
        // setsid(1): a session of its own, with this terminal.
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(command)
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, kept) = (keyboard.try_clone().unwrap(), written.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut piece) {
                kept.lock().unwrap().extend_from_slice(&piece[..n]);
            }
        });
        Self {
            child,
            keyboard,
            side,
            written,
            size,
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// The program is told by SIGWINCH, as by any terminal.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.size = (columns, rows);
        set(&self.side, self.size);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the screen that one waits for.
    #[allow(clippy::disallowed_methods)]
    pub fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{what} ({ended:?}):\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end.
    #[allow(clippy::disallowed_methods)]
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Echo, lines, signals: everything that a program can change of a terminal.
    pub fn modes(&self) -> String {
        let modes = tcgetattr(&self.side).unwrap();
        // Not the speeds: the kernel writes the same ones in two ways.
        let control = modes.control_modes
            & (ControlModes::CSIZE
                | ControlModes::CSTOPB
                | ControlModes::CREAD
                | ControlModes::PARENB
                | ControlModes::HUPCL
                | ControlModes::CLOCAL);
        format!(
            "{:?} {:?} {control:?} {:?}",
            modes.input_modes, modes.output_modes, modes.local_modes
        )
    }

    pub fn left_the_alternate_screen(&self) -> bool {
        self.last_of(b"\x1b[?1049h") < self.last_of(b"\x1b[?1049l")
    }

    pub fn cursor_is_shown(&self) -> bool {
        self.last_of(b"\x1b[?25l") < self.last_of(b"\x1b[?25h")
    }

    fn last_of(&self, sequence: &[u8]) -> Option<usize> {
        let written = self.written.lock().unwrap();
        written.windows(sequence.len()).rposition(|w| w == sequence)
    }

    fn screen(&self) -> String {
        let written = self.written.lock().unwrap();
        screen(&String::from_utf8_lossy(&written), self.size)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set(side: &File, (columns, rows): (u16, u16)) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(side, size).unwrap();
}

/// What stands on a screen of this size: text, cursor moves and clearing, which is what is used.
fn screen(written: &str, (columns, rows): (u16, u16)) -> String {
    let (columns, rows) = (usize::from(columns), usize::from(rows));
    let mut cells = vec![vec![' '; columns]; rows];
    let (mut row, mut column) = (0, 0);
    let mut chars = written.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                let mut numbers = String::new();
                while let Some(c) = chars.next_if(|c| !c.is_ascii_alphabetic()) {
                    numbers.push(c);
                }
                let number = |n: usize| numbers.split(';').nth(n).and_then(|t| t.parse().ok());
                match chars.next() {
                    Some('H') => {
                        row = number(0).unwrap_or(1_usize) - 1;
                        column = number(1).unwrap_or(1_usize) - 1;
                    }
                    Some('J') => cells = vec![vec![' '; columns]; rows],
                    _ => {}
                }
            }
            '\n' => row += 1,
            '\r' => column = 0,
            c if !c.is_control() => {
                if let Some(cell) = cells.get_mut(row).and_then(|r| r.get_mut(column)) {
                    *cell = c;
                }
                column += 1;
            }
            _ => {}
        }
    }
    let lines = cells.iter().map(|row| row.iter().collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}
