//! What is drawn.

use std::collections::HashMap;
use std::time::Instant;

use ipc_actors::TreeInfo;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table, TableState};

use super::watch::Seen;
use crate::commands::actor::{pool_rows, rows, summary};

/// What is known, and how much of it is scrolled away.
#[derive(Debug, Default)]
pub(super) struct Screen {
    address: String,
    tree: Option<TreeInfo>,
    at: Option<Instant>,
    /// Why nothing new is known.
    problem: Option<String>,
    /// Requests per second, by id.
    rates: HashMap<u64, f64>,
    state: TableState,
}

impl Screen {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }

    /// Takes in what was seen. What was known stays when the application is gone.
    pub(super) fn update(&mut self, seen: Seen) {
        let tree = match seen.tree {
            Ok(tree) => tree,
            Err(problem) => {
                self.problem = Some(problem);
                self.rates.clear();
                return;
            }
        };
        self.problem = None;
        self.rates = match (&self.tree, self.at) {
            (Some(before), Some(then)) => rates(before, &tree, (seen.at - then).as_secs_f64()),
            _ => HashMap::new(),
        };
        (self.tree, self.at) = (Some(tree), Some(seen.at));
    }

    /// Scrolls by so many rows.
    pub(super) fn scroll(&mut self, rows: isize) {
        let last = self.tree.as_ref().map_or(0, |tree| tree.actors.len());
        let at = self.state.offset().saturating_add_signed(rows);
        *self.state.offset_mut() = at.min(last.saturating_sub(1));
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let pools = self.tree.as_ref().map_or(0, |tree| tree.pools.len() + 1);
        let heights = [
            Constraint::Length(2),
            Constraint::Length(u16::try_from(pools + 1).unwrap_or(u16::MAX)),
            Constraint::Fill(1),
            Constraint::Length(1),
        ];
        let [head, middle, below, foot] = Layout::vertical(heights).areas(frame.area());
        let known = self.tree.as_ref().map(summary);
        let state = match &self.problem {
            Some(problem) => Line::from(format!("gone: {problem}")).red().bold(),
            None => Line::from(known.unwrap_or_else(|| "connecting".to_owned())),
        };
        let title = Line::from(format!("ipc-cli top {}", self.address)).bold();
        frame.render_widget(title, head);
        let second = Rect {
            y: head.y + 1,
            height: 1,
            ..head
        };
        frame.render_widget(state, second.intersection(head));
        frame.render_widget(Line::from("q ends, arrows scroll").dim(), foot);
        let Some(tree) = &self.tree else { return };
        frame.render_widget(table(pool_rows(tree)), middle);
        let actors = with_rates(rows(tree), tree, &self.rates);
        frame.render_stateful_widget(table(actors), below, &mut self.state);
    }
}

/// How many requests per second each actor has handled between two looks.
fn rates(before: &TreeInfo, now: &TreeInfo, seconds: f64) -> HashMap<u64, f64> {
    let then: HashMap<_, _> = before
        .actors
        .iter()
        .map(|actor| ((actor.info.id, actor.info.incarnation), actor.info.handled))
        .collect();
    now.actors
        .iter()
        .filter_map(|actor| {
            let info = &actor.info;
            let then = then.get(&(info.id, info.incarnation))?;
            let handled = info.handled.saturating_sub(*then);
            Some((info.id.to_u64(), handled as f64 / seconds.max(0.001)))
        })
        .collect()
}

fn with_rates(
    mut rows: Vec<Vec<String>>,
    tree: &TreeInfo,
    rates: &HashMap<u64, f64>,
) -> Vec<Vec<String>> {
    if let Some(heading) = rows.first_mut() {
        heading.push("PER SECOND".to_owned());
    }
    for (row, actor) in rows.iter_mut().skip(1).zip(&tree.actors) {
        let rate = rates.get(&actor.info.id.to_u64());
        row.push(rate.map_or("-".to_owned(), |rate| format!("{rate:.0}")));
    }
    rows
}

/// A table whose columns are as wide as what they hold.
fn table(rows: Vec<Vec<String>>) -> Table<'static> {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| {
        let lens = rows
            .iter()
            .map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        lens.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns)
        .map(|column| Constraint::Length(u16::try_from(widest(column)).unwrap_or(u16::MAX)))
        .collect();
    let mut rows = rows.into_iter();
    let heading = Row::new(rows.next().unwrap_or_default());
    Table::new(rows.map(Row::new), widths)
        .header(heading.style(Style::new().fg(Color::Black).bg(Color::Gray)))
        .column_spacing(2)
}
