//! Draws the results of the benchmark.

use crate::results::{CONTESTANTS, CURVE, Results};
use plotters::prelude::*;

const SIZE: (u32, u32) = (1100, 460);
const COLOURS: [RGBColor; 5] =
    [RGBColor(200, 30, 30), RGBColor(40, 40, 40), RGBColor(40, 90, 200), RGBColor(30, 140, 60), RGBColor(160, 110, 20)];
/// The workloads whose times are shown.
const TIMED: [&str; 5] = [
    "cached read, depth 1",
    "direct read, depth 1",
    "direct write, depth 1",
    "buffered write, depth 1",
    "direct read, depth 32",
];

/// Returns an SVG.
pub fn draw(results: &Results) -> Result<String, String> {
    let mut text = String::new();
    draw_to(results, &mut text).map_err(|error| format!("cannot draw: {error}"))?;
    Ok(text)
}

fn draw_to(results: &Results, text: &mut String) -> Result<(), String> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| error.to_string())?;
    let (left, right) = area.split_horizontally(SIZE.0 / 2);
    draw_rates(results, &left).map_err(|error| error.to_string())?;
    draw_times(results, &right).map_err(|error| error.to_string())?;
    area.present().map_err(|error| error.to_string())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Draws the rate by depth, a line for each engine.
fn draw_rates<'a>(results: &Results, area: &Area<'a>) -> Drawn<'a> {
    let curves: Vec<_> = (0..CONTESTANTS.len()).map(|index| results.curve(index)).collect();
    let highest = curves.iter().flatten().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let deepest = curves.iter().flatten().map(|(depth, _)| *depth as f64).fold(2.0, f64::max);
    let title = CURVE.split(',').next().unwrap_or(CURVE);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{title}: thousand requests a second"), ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d((1.0..deepest).log_scale().base(2.0), 0.0..highest * 1.1)?;
    chart.configure_mesh().x_desc("requests in flight").x_label_formatter(&|depth| format!("{depth:.0}")).draw()?;
    for (index, curve) in curves.iter().enumerate().filter(|(_, curve)| !curve.is_empty()) {
        let points = curve.iter().map(|(depth, rate)| (*depth as f64, *rate));
        let colour = COLOURS[index];
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(CONTESTANTS[index].name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    let legend = SeriesLabelPosition::UpperLeft;
    chart.configure_series_labels().position(legend).background_style(WHITE.mix(0.8)).draw()
}

/// Draws a bar for each workload and engine, from the 50th to the 99th percentile of the times.
fn draw_times<'a>(results: &Results, area: &Area<'a>) -> Drawn<'a> {
    let times: Vec<_> = TIMED
        .iter()
        .enumerate()
        .flat_map(|(row, workload)| {
            (0..CONTESTANTS.len()).filter_map(move |index| Some((row, index, results.times(workload, index)?)))
        })
        .collect();
    let longest = times.iter().map(|(.., (_, p99))| *p99).fold(10.0, f64::max);
    let shortest = times.iter().map(|(.., (p50, _))| *p50).fold(1.0, f64::min);
    let mut chart = ChartBuilder::on(area)
        .caption("time of a request in microseconds: p50 to p99", ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(10)
        .build_cartesian_2d((shortest * 0.8..longest * 1.3).log_scale(), 0.0..TIMED.len() as f64)?;
    chart.configure_mesh().disable_y_mesh().disable_y_axis().draw()?;
    let lane = |row: usize, index: usize| (TIMED.len() - row) as f64 - 0.3 - index as f64 * 0.12;
    chart.draw_series(times.iter().map(|(row, index, (p50, p99))| {
        let y = lane(*row, *index);
        PathElement::new([(*p50, y), (p99.max(*p50 * 1.01), y)], COLOURS[*index].stroke_width(5))
    }))?;
    let names = TIMED.iter().enumerate().filter(|(row, _)| times.iter().any(|(shown, ..)| shown == row));
    chart.draw_series(names.map(|(row, name)| {
        Text::new(*name, (shortest * 0.85, (TIMED.len() - row) as f64 - 0.05), ("sans-serif", 13))
    }))?;
    Ok(())
}
