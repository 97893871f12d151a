//! The chart: round trips on the left, rates on the right, limits dashed.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::Row;

const WIDTH: u32 = 1200;
const HEIGHT: u32 = 520;

const COLOURS: [RGBColor; 4] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What one half shows: of a row, the value and that of its limit.
type Values = fn(&Row) -> (f64, f64);

/// An SVG picture of `rows`.
///
/// # Errors
///
/// When plotters cannot draw it.
pub(super) fn draw(rows: &[Row]) -> Result<String> {
    let mut picture = String::new();
    let root = SVGBackend::with_string(&mut picture, (WIDTH, HEIGHT)).into_drawing_area();
    // The errors of plotters borrow nothing, but their type does.
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw the chart: {error}");
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let (left, right) = root.split_horizontally(WIDTH / 2);
    half(
        &left,
        "round trip, median, in microseconds (limit: dashed)",
        rows,
        |row| (row.figures.rtt_us_p50, row.limit.figures.rtt_us_p50),
    )?;
    half(
        &right,
        "one way, in MiB per second (limit: dashed)",
        rows,
        |row| (row.figures.mib_per_s, row.limit.figures.mib_per_s),
    )?;
    root.present().map_err(|error| failed(&error))?;
    drop((left, right, root));
    Ok(picture)
}

fn half(area: &Area<'_>, title: &str, rows: &[Row], values: Values) -> Result<()> {
    draw_half(area, title, rows, values).map_err(|error| anyhow!("cannot draw the chart: {error}"))
}

/// The transports, in the order of the rows.
fn transports(rows: &[Row]) -> Vec<&'static str> {
    let mut names: Vec<_> = rows.iter().map(|row| row.transport).collect();
    names.dedup();
    names
}

fn draw_half<'a>(
    area: &Area<'a>,
    title: &str,
    rows: &[Row],
    values: Values,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let (mut least, mut most) = (f64::INFINITY, f64::MIN_POSITIVE);
    for (value, limit) in rows.iter().map(values) {
        least = least.min(value.min(limit));
        most = most.max(value.max(limit));
    }
    let sizes = rows.iter().map(|row| f64::from(row.size));
    let (smallest, largest) = sizes.fold((f64::INFINITY, 1.0), |(a, b): (f64, f64), size| {
        (a.min(size), b.max(size))
    });
    if rows.is_empty() {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (smallest / 1.5..largest * 1.5).log_scale(),
            (least / 2.0..most * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .x_desc("bytes")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value}"))
        .draw()?;
    for (index, name) in transports(rows).into_iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mine = || rows.iter().filter(|row| row.transport == name);
        let points = || mine().map(|row| (f64::from(row.size), values(row).0));
        let limits = mine().map(|row| (f64::from(row.size), values(row).1));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
        chart.draw_series(DashedLineSeries::new(limits, 4, 4, colour.mix(0.7).into()))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
}
