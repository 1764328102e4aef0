//! `top` at a terminal.
//!
//! What enters: keys, and figures from a thread that looks once an interval. What leaves: a
//! screen. What can never happen: the terminal stays raw or in its alternate screen after an
//! error, a panic or SIGTERM (the library restores it in its panic hook, this file otherwise).
//!
//! ```text
//! drawn ──key or new figures or resize──▶ drawn ──q, Esc, Ctrl-C, SIGTERM, SIGHUP──▶ restored
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Instant;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};
use tokio::signal::unix::{SignalKind, signal};

use super::Sources;
use super::figures::{Figures, Gateway, Route, World};
use super::text::{self, COLUMNS};
use crate::limits;

/// Runs until a key or a signal ends it.
///
/// # Errors
/// The terminal cannot be used.
pub fn run(sources: Sources) -> io::Result<()> {
    let ended = signals()?;
    let about = about(&sources);
    let (figures, watching) = watch(sources);
    let mut terminal = ratatui::try_init()?;
    let mut view = View::new(about);
    let shown = show(&mut terminal, &mut view, &figures, &ended);
    drop(watching);
    let cursor = terminal.show_cursor();
    ratatui::try_restore()?;
    shown.and(cursor)
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    view: &mut View,
    figures: &mpsc::Receiver<Figures>,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut changed = true;
    while !ended.load(Relaxed) {
        if changed {
            terminal.draw(|frame| view.draw(frame))?;
        }
        changed = false;
        if event::poll(limits::TOP_TICK)? {
            changed = true;
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release && view.key(key) => {
                    return Ok(());
                }
                _ => {}
            }
        }
        loop {
            match figures.try_recv() {
                Ok(new) => {
                    changed |= !view.paused;
                    view.take(new);
                }
                Err(mpsc::TryRecvError::Empty) => break,
                // It has panicked: the hook has restored the terminal, nothing may be drawn on it.
                Err(mpsc::TryRecvError::Disconnected) => {
                    return Err(io::Error::other("reading the pages has failed"));
                }
            }
        }
    }
    Ok(())
}

/// Set when the process is asked to end: the terminal is restored first.
fn signals() -> io::Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let told = ended.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let kinds = [SignalKind::terminate(), SignalKind::hangup()];
                let [Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
                    return;
                };
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                told.store(true, Relaxed);
            });
        })?;
    Ok(ended)
}

/// Looks once an interval, on a thread of its own, until the sender is dropped.
fn watch(sources: Sources) -> (mpsc::Receiver<Figures>, mpsc::Sender<()>) {
    let (to, figures) = mpsc::channel();
    let (watching, stop) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let mut before = sources.look();
        // The first figures have no rates yet, but the screen is not empty.
        let _ = to.send(Figures::between(&before, &before));
        loop {
            let next = before.at + sources.interval;
            let wait = next.saturating_duration_since(Instant::now());
            if stop.recv_timeout(wait) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
            let now = sources.look();
            if to.send(Figures::between(&before, &now)).is_err() {
                return;
            }
            before = now;
        }
    });
    (figures, watching)
}

fn about(sources: &Sources) -> String {
    let mut about = "cryptonym top".to_owned();
    for (name, address) in [("gateway", sources.gateway), ("vault", sources.vault)] {
        if let Some(address) = address {
            about.push_str(&format!("  {name} {address}"));
        }
    }
    about
}

/// What is shown, and how.
struct View {
    about: String,
    figures: Option<Figures>,
    paused: bool,
    /// A column of the table of routes.
    sort: usize,
    reversed: bool,
}

impl View {
    fn new(about: String) -> Self {
        Self {
            about,
            figures: None,
            paused: false,
            sort: 1,
            reversed: false,
        }
    }

    fn take(&mut self, figures: Figures) {
        if !self.paused {
            self.figures = Some(figures);
        }
    }

    /// Whether the key ends it.
    fn key(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('c') => return key.modifiers.contains(KeyModifiers::CONTROL),
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = (self.sort + 1) % COLUMNS.len(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            _ => {}
        }
        false
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [title, rest, keys] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let figures = self.figures.as_ref();
        let gateway = figures.and_then(|f| f.gateway.as_ref());
        let second = match gateway {
            Some(World::Seen(gateway)) => text::summary(gateway),
            Some(World::Unseen { error }) => format!("gateway: {error}"),
            None => String::new(),
        };
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let first = Line::styled(self.about.as_str(), bold);
        frame.render_widget(Text::from(vec![first, Line::raw(second)]), title);
        if let Some(World::Seen(gateway)) = gateway {
            let below = u16::try_from(text::link(gateway).len()).unwrap_or(u16::MAX);
            let below = below.clamp(4, 8) + 1;
            let shown = u16::try_from(gateway.backends.len()).unwrap_or(u16::MAX);
            let [routes, backends, middle, vault] = Layout::vertical([
                Constraint::Min(3),
                Constraint::Length(shown.clamp(1, 4) + 1),
                Constraint::Length(below),
                Constraint::Length(4),
            ])
            .areas(rest);
            self.routes(frame, routes, gateway);
            self.backends(frame, backends, gateway);
            let [left, right] =
                Layout::horizontal([Constraint::Length(38), Constraint::Min(0)]).areas(middle);
            section(frame, left, "refusals", text::refusals(gateway));
            section(frame, right, "link to the vault", text::link(gateway));
            self.vault(frame, vault);
        } else {
            self.vault(frame, rest);
        }
        let paused = if self.paused { "PAUSED  " } else { "" };
        let order = if self.reversed { "rising" } else { "falling" };
        let help = format!(
            "{paused}q quit  space pause  s sort ({}, {order})  r turn round",
            COLUMNS[self.sort].0
        );
        let style = Style::new().add_modifier(Modifier::REVERSED);
        frame.render_widget(Paragraph::new(help).style(style), keys);
    }

    fn routes(&self, frame: &mut Frame<'_>, area: Rect, gateway: &Gateway) {
        let mut routes: Vec<&Route> = gateway.routes.iter().collect();
        routes.sort_by(|a, b| {
            let falling = match self.sort {
                0 => a.name.cmp(&b.name),
                column => key(b, column).total_cmp(&key(a, column)),
            };
            if self.reversed {
                falling.reverse()
            } else {
                falling
            }
        });
        let rows = routes.into_iter().map(|route| {
            let failing = route.answers_5xx.per_second > 0.0;
            let color = if failing { Color::Red } else { Color::Reset };
            Row::new(aligned(text::cells(route))).style(Style::new().fg(color))
        });
        let mut heads = COLUMNS.map(|(name, _)| name.to_owned());
        heads[self.sort].insert(0, if self.reversed { '^' } else { 'v' });
        let bold = Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        let widths = COLUMNS.map(|(_, width)| Constraint::Length(width));
        let table = Table::new(rows, widths)
            .header(Row::new(aligned(heads)).style(bold))
            .column_spacing(1);
        frame.render_widget(table, area);
    }

    fn backends(&self, frame: &mut Frame<'_>, area: Rect, gateway: &Gateway) {
        let red = gateway.backends.iter().any(text::is_in_trouble);
        let color = if red { Color::Red } else { Color::Reset };
        frame.render_widget(Block::new().style(Style::new().fg(color)), area);
        section(frame, area, "backends", text::backends(gateway));
    }

    fn vault(&self, frame: &mut Frame<'_>, area: Rect) {
        match self.figures.as_ref().and_then(|f| f.vault.as_ref()) {
            Some(World::Seen(vault)) => section(frame, area, "vault", text::vault(vault)),
            Some(World::Unseen { error }) => {
                section(frame, area, "vault", vec![error.clone()]);
            }
            None => {}
        }
    }
}

fn section(frame: &mut Frame<'_>, area: Rect, name: &'static str, lines: Vec<String>) {
    let lines: Vec<Line<'_>> = lines.into_iter().map(Line::raw).collect();
    let block = Block::new().borders(Borders::TOP).title(name);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Names to the left, numbers to the right.
fn aligned(cells: [String; COLUMNS.len()]) -> Vec<Cell<'static>> {
    let side = |n| {
        if n == 0 {
            Alignment::Left
        } else {
            Alignment::Right
        }
    };
    let cells = cells.into_iter().enumerate();
    cells
        .map(|(n, cell)| Cell::from(Text::from(cell).alignment(side(n))))
        .collect()
}

/// What a column is sorted by.
fn key(route: &Route, column: usize) -> f64 {
    match column {
        1 => route.requests.per_second,
        2 => route.latency.p50_ms.unwrap_or(-1.0),
        3 => route.latency.p99_ms.unwrap_or(-1.0),
        4 => route.bytes_in.per_second,
        5 => route.bytes_out.per_second,
        6 => route.replaced.per_second,
        7 => route.answers_4xx.per_second,
        _ => route.answers_5xx.per_second,
    }
}
