//! The plots.

use std::error::Error;
use std::path::Path;

use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, IntoDrawingArea, IntoLogRange, LineSeries, Palette,
    Palette99, PathElement, RGBColor, Rectangle, SVGBackend, SeriesLabelPosition, WHITE,
};
use thiserror::Error;

use super::markdown::{number, size_name};
use super::{Class, Measurement, Ratio, Run, ratios};

const SIZE: (u32, u32) = (900, 560);
const FONT: &str = "sans-serif";

/// How many peers that are not ours a plot shows: the best ones.
const OTHERS_MAX: usize = 6;

const LIMIT: RGBColor = RGBColor(110, 110, 110);
const RIVAL: RGBColor = RGBColor(200, 90, 40);

/// The plots of a report.
#[derive(Clone, Debug, Default)]
pub struct Plots {
    /// Title and file name of each.
    pub files: Vec<(String, String)>,
}

/// A plot could not be drawn or written.
#[derive(Debug, Error)]
#[error("the plot {file} cannot be drawn")]
pub struct PlotError {
    /// Which file.
    pub file: String,
    /// Why.
    pub source: Box<dyn Error>,
}

/// Draws what the run has figures for into files in `folder` whose names begin with `stem`.
///
/// # Errors
///
/// When a file cannot be written.
pub fn draw(run: &Run, folder: &Path, stem: &str) -> Result<Plots, PlotError> {
    let mut plots = Plots::default();
    let by_size = [
        ("rtt", "rtt_us_p50", "latency", "Round trip, median, µs"),
        ("stream", "msgs_per_s", "throughput", "One way, messages/s"),
    ];
    for (case, metric, name, title) in by_size {
        let lines = lines(run, case, metric);
        if lines.iter().any(|line| line.points.len() > 1) {
            let file = format!("{stem}-{name}.svg");
            by_size_plot(&folder.join(&file), title, &lines).map_err(|source| PlotError {
                file: file.clone(),
                source,
            })?;
            plots.files.push((title.to_owned(), file));
        }
    }
    let ratios = ratios(run);
    if !ratios.is_empty() {
        let title = "Times worse than the limit and the best rival";
        let file = format!("{stem}-ratios.svg");
        ratio_plot(&folder.join(&file), title, &ratios).map_err(|source| PlotError {
            file: file.clone(),
            source,
        })?;
        plots.files.push((title.to_owned(), file));
    }
    Ok(plots)
}

/// One peer over the sizes.
struct Line<'a> {
    peer: &'a str,
    points: Vec<(f64, f64)>,
}

/// Ours, and the best others by their mean rank over the sizes; none that are pinned.
fn lines<'a>(run: &'a Run, case: &str, metric: &str) -> Vec<Line<'a>> {
    let of_metric = |one: &&Measurement| {
        one.case == case && one.metric == metric && one.pinning().is_empty() && one.value > 0.0
    };
    let mut lines: Vec<Line<'_>> = Vec::new();
    for one in run.measurements.iter().filter(of_metric) {
        let point = (one.size as f64, one.value);
        match lines.iter_mut().find(|line| line.peer == one.peer) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                peer: &one.peer,
                points: vec![point],
            }),
        }
    }
    let rate = metric.ends_with("_per_s");
    let weight = |line: &Line<'_>| {
        let sum: f64 = line.points.iter().map(|(_, value)| value.ln()).sum();
        let mean = sum / line.points.len() as f64;
        if rate { -mean } else { mean }
    };
    let whole = lines
        .iter()
        .map(|line| line.points.len())
        .max()
        .unwrap_or(0);
    let (mut shown, mut others): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .filter(|line| line.points.len() == whole)
        .partition(|line| Class::of(line.peer) == Class::Ours);
    others.sort_by(|left, right| weight(left).total_cmp(&weight(right)));
    others.truncate(OTHERS_MAX);
    shown.append(&mut others);
    shown
}

fn by_size_plot(path: &Path, title: &str, lines: &[Line<'_>]) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let sizes = span(points().map(|(size, _)| *size), 1.5);
    let values = span(points().map(|(_, value)| *value), 1.5);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (sizes.0..sizes.1).log_scale(),
            (values.0..values.1).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("bytes of a message")
        .x_label_formatter(&|size| size_name(size.round() as u64))
        .y_label_formatter(&|value| number(*value))
        .light_line_style(WHITE)
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let ours = Class::of(line.peer) == Class::Ours;
        let color = Palette99::pick(index).to_rgba();
        let style = color.stroke_width(if ours { 3 } else { 1 });
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(line.peer)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        let radius = if ours { 4 } else { 2 };
        let points = line.points.iter();
        chart.draw_series(points.map(|at| Circle::new(*at, radius, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()?;
    area.present()?;
    Ok(())
}

fn ratio_plot(path: &Path, title: &str, ratios: &[Ratio<'_>]) -> Result<(), Box<dyn Error>> {
    // Those that are pinned to processors are in the table.
    let told = |ratio: &&Ratio<'_>| {
        ratio.ours.pinning().is_empty() && (ratio.limit.is_some() || ratio.rival.is_some())
    };
    let ratios: Vec<&Ratio<'_>> = ratios.iter().filter(told).collect();
    let rows = ratios.len() as f64;
    let height = 110 + 22 * u32::try_from(ratios.len())?;
    let times = |ratio: &Ratio<'_>| {
        [ratio.limit, ratio.rival]
            .map(|other| other.map(|other| ratio.ours.times_worse_than(other)))
    };
    let all = ratios.iter().copied().flat_map(times).flatten();
    let range = span(all.chain([1.0]), 1.3);
    let area = SVGBackend::new(path, (SIZE.0, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(310)
        .build_cartesian_2d((range.0..range.1).log_scale(), rows..0.0)?;
    let name = |row: f64| {
        let at = row.round() as usize;
        ratios.get(at).map_or_else(String::new, |ratio| {
            let one = ratio.ours;
            format!("{} {} {}", one.peer, one.case, size_name(one.size))
        })
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(2 * ratios.len())
        .y_label_formatter(&|row| {
            if row.fract() == 0.0 {
                name(*row)
            } else {
                String::new()
            }
        })
        .x_desc("times worse: 1 is equal, left of it is better")
        .x_label_formatter(&|times| number(*times))
        .light_line_style(WHITE)
        .draw()?;
    for (which, (color, label)) in [(LIMIT, "than the limit"), (RIVAL, "than the best rival")]
        .into_iter()
        .enumerate()
    {
        let bars = ratios.iter().enumerate().filter_map(|(row, ratio)| {
            let times = times(ratio)[which]?;
            let top = row as f64 + 0.1 + 0.4 * which as f64;
            Some(Rectangle::new(
                [(1.0, top), (times, top + 0.36)],
                color.filled(),
            ))
        });
        chart
            .draw_series(bars)?
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], color.filled()));
    }
    chart.draw_series(LineSeries::new([(1.0, 0.0), (1.0, rows)], BLACK))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()?;
    area.present()?;
    Ok(())
}

/// From a little under the least to a little over the most.
fn span(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    (least / margin, most * margin)
}
