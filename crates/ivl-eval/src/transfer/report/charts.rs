//! The plots of a report, as SVG whose colours the page's style can replace.

use std::error::Error;

use maud::{Markup, PreEscaped, html};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::Table;
use crate::transfer::{BaseSummary, SettingSummary, Transfer};

/// Lines and text, the grid, and the series: without the value, with it, fine-tuned. `style.css` names them.
const INK: RGBColor = RGBColor(0x16, 0x19, 0x1d);
const GRID: RGBColor = RGBColor(0xd5, 0xd9, 0xde);
const ALONE: RGBColor = RGBColor(0x8a, 0x93, 0x9d);
const WITH: RGBColor = RGBColor(0x25, 0x63, 0xeb);
const TUNED: RGBColor = RGBColor(0xea, 0x58, 0x0c);
/// One for each line of a chart, distinguishable with colour blindness (Okabe and Ito), and by their marks.
const LINES: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xb8, 0x8a, 0x00),
    RGBColor(0x6b, 0x5b, 0xd2),
];
const WIDTH: u32 = 480;
const LABELS: u32 = 120;
const FONT: (&str, i32) = ("system-ui, sans-serif", 16);
/// Longest name beside a bar.
const LONGEST_NAME: usize = 15;

type Drawn = Result<String, Box<dyn Error>>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A chart with its caption: a `<figure>`. `table` says the same in numbers.
fn figure(drawn: Drawn, title: &str, legend: &Markup, table: &Table) -> Markup {
    let Ok(svg) = drawn else { return html! {} };
    // To a screen reader the drawing is one named picture; its numbers are in the table.
    html! {
        figure.chart {
            figcaption { (title) (legend) }
            div role="img" aria-label={ (title) ": the figures are in the table " (table.title) } { (PreEscaped(svg)) }
        }
    }
}

/// A row of names with their colours.
fn legend(entries: &[(String, &str)]) -> Markup {
    html! {
        ul.legend {
            @for (name, class) in entries {
                li { span class={ "swatch " (class) } aria-hidden="true" {} (name) }
            }
        }
    }
}

/// Bars of every base without the value, with it and fine-tuned.
pub(super) fn bars(transfer: &Transfer, table: &Table) -> Markup {
    let mut names = vec![
        ("alone".to_owned(), "alone"),
        (format!("with the value, alpha {}", transfer.verdict.alpha), "with"),
    ];
    if transfer.has_tuned() {
        names.push(("fine-tuned".to_owned(), "tuned"));
    }
    let title = if transfer.has_answers() { "Right answers" } else { "Loss of a token of the answer" };
    figure(draw_bars(transfer), title, &legend(&names), table)
}

fn draw_bars(transfer: &Transfer) -> Drawn {
    let answers = transfer.has_answers();
    let rows: Vec<Vec<(Option<f64>, RGBColor)>> = transfer
        .bases
        .iter()
        .map(|base| {
            let of = |setting: Option<&SettingSummary>| setting.map(|setting| judged(setting, answers));
            let mut bars = vec![(of(Some(&base.alone)), ALONE), (of(base.at(transfer.verdict.alpha)), WITH)];
            if transfer.has_tuned() {
                bars.push((of(base.tuned.as_ref()), TUNED));
            }
            bars
        })
        .collect();
    let largest = rows.iter().flatten().filter_map(|(x, _)| *x).fold(0.0, f64::max);
    let end = if answers { 100.0 } else { largest * 1.1 + 1e-9 };
    let each = rows.first().map_or(1, Vec::len) as f64;
    let height = (rows.len() as f64 * (each * 19.0 + 14.0)) as u32 + 48;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let mut chart = horizontal(&root, 0.0..end, &transfer.bases, if answers { "%" } else { "" })?;
        let thick = 0.8 / each;
        for (row, bars) in rows.iter().enumerate() {
            let top = (rows.len() - row) as f64 - 0.1;
            for (index, (x, colour)) in bars.iter().enumerate() {
                let Some(x) = x.filter(|x| x.is_finite()) else { continue };
                let high = top - index as f64 * thick;
                let bar = Rectangle::new([(0.0, high), (x, high - thick * 0.88)], colour.filled());
                chart.draw_series(std::iter::once(bar))?;
                let number = if answers { format!("{x:.0}") } else { format!("{x:.2}") };
                // Inside the bar if there is no room after it.
                let inside = x > end * 0.93;
                let (at, anchor) =
                    if inside { (x - end * 0.01, HPos::Right) } else { (x + end * 0.01, HPos::Left) };
                let style = TextStyle::from((FONT.0, 14).into_font())
                    .color(if inside { &WHITE } else { &INK })
                    .pos(Pos::new(anchor, VPos::Center));
                chart.draw_series(std::iter::once(Text::new(number, (at, high - thick * 0.44), style)))?;
            }
        }
        root.present()?;
    }
    Ok(svg)
}

/// The share of the gap that every base recovers, with its interval.
pub(super) fn recovered(transfer: &Transfer, table: &Table) -> Markup {
    if !transfer.has_tuned() {
        return html! {};
    }
    let title = "Share of the fine-tuning gap recovered, with 95% intervals";
    figure(draw_recovered(transfer), title, &html! {}, table)
}

fn draw_recovered(transfer: &Transfer) -> Drawn {
    let shares: Vec<Option<[f64; 3]>> =
        transfer.bases.iter().map(|base| drawn_share(transfer, base)).collect();
    let ends = |which: usize| shares.iter().flatten().map(move |share| share[which]);
    let low = ends(1).fold(0.0, f64::min).max(-200.0);
    let high = ends(2).fold(110.0, f64::max).min(300.0);
    let height = transfer.bases.len() as u32 * 36 + 44;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let mut chart = horizontal(&root, low..high * 1.02, &transfer.bases, "%")?;
        let rows = transfer.bases.len() as f64;
        for (x, colour) in [(0.0, ALONE), (100.0, TUNED)] {
            chart.draw_series(LineSeries::new([(x, 0.0), (x, rows)], colour.stroke_width(2)))?;
        }
        for (row, share) in shares.iter().enumerate() {
            let y = rows - row as f64 - 0.5;
            let Some([value, from, to]) = *share else { continue };
            let interval = [(from.max(low), y), (to.min(high), y)];
            chart.draw_series(LineSeries::new(interval, WITH.stroke_width(3)))?;
            chart.draw_series(std::iter::once(Circle::new((value, y), 5, WITH.filled())))?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// The share that a base recovers at the recommended alpha, with the ends of its interval, in percent.
fn drawn_share(transfer: &Transfer, base: &BaseSummary) -> Option<[f64; 3]> {
    let share = base.at(transfer.verdict.alpha)?.recovered?;
    Some([share.value, share.low?, share.high?].map(|end| 100.0 * end))
}

/// How every base does by the weight of the value.
pub(super) fn curves(transfer: &Transfer, table: &Table) -> Markup {
    const CLASSES: [&str; 6] = ["line0", "line1", "line2", "line3", "line4", "line5"];
    let names: Vec<(String, &str)> = transfer
        .bases
        .iter()
        .enumerate()
        .map(|(index, base)| (base.name.clone(), CLASSES[index % CLASSES.len()]))
        .collect();
    let title = match transfer.has_answers() {
        true => "Right answers by the weight of the value (0 is the base alone)",
        false => "Loss by the weight of the value (0 is the base alone)",
    };
    figure(draw_curves(transfer), title, &legend(&names), table)
}

fn draw_curves(transfer: &Transfer) -> Drawn {
    let answers = transfer.has_answers();
    let lines: Vec<Vec<(f64, f64)>> = transfer
        .bases
        .iter()
        .map(|base| {
            let settings = std::iter::once(&base.alone).chain(&base.with);
            let mut points: Vec<(f64, f64)> =
                settings.map(|setting| (setting.alpha.unwrap_or(0.0), judged(setting, answers))).collect();
            points.retain(|(_, y)| y.is_finite());
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            points
        })
        .collect();
    let over = |pick: fn(&(f64, f64)) -> f64| lines.iter().flatten().map(pick);
    let (first, last) = (over(|p| p.0).fold(0.0, f64::min), over(|p| p.0).fold(1.0, f64::max));
    let top = if answers { 100.0 } else { over(|p| p.1).fold(0.0, f64::max) * 1.05 + 1e-9 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, 300)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(50)
            .y_label_area_size(52)
            .build_cartesian_2d(first..last, 0.0..top)?;
        let percent = |y: &f64| if answers { format!("{y:.0}%") } else { format!("{y:.1}") };
        chart
            .configure_mesh()
            .label_style(FONT.into_font().color(&INK))
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_labels(7)
            .y_labels(6)
            .x_desc("alpha")
            .x_label_formatter(&|x| format!("{x}"))
            .y_label_formatter(&percent)
            .draw()?;
        for (index, points) in lines.iter().enumerate() {
            let colour = LINES[index % LINES.len()];
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
            match index % 3 {
                0 => drop(chart.draw_series(points.iter().map(|&p| Circle::new(p, 4, colour.filled())))?),
                1 => drop(
                    chart.draw_series(points.iter().map(|&p| TriangleMarker::new(p, 5, colour.filled())))?,
                ),
                _ => drop(
                    chart.draw_series(points.iter().map(|&p| Cross::new(p, 4, colour.stroke_width(2))))?,
                ),
            }
        }
        root.present()?;
    }
    Ok(svg)
}

/// A chart with a row for each base, named on the left.
fn horizontal<'a>(
    root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    range: std::ops::Range<f64>,
    bases: &[BaseSummary],
    unit: &str,
) -> Result<Chart<'a>, Box<dyn Error>> {
    let rows = bases.len() as f64;
    let mut chart = ChartBuilder::on(root)
        .margin(8)
        .margin_right(20)
        .x_label_area_size(32)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(range, 0.0..rows)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .label_style(FONT.into_font().color(&INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .x_label_formatter(&|x| if unit.is_empty() { format!("{x:.1}") } else { format!("{x:.0}{unit}") })
        .draw()?;
    let style = TextStyle::from(FONT.into_font()).color(&INK).pos(Pos::new(HPos::Right, VPos::Center));
    for (row, base) in bases.iter().enumerate() {
        let (_, y) = chart.backend_coord(&(0.0, rows - row as f64 - 0.5));
        root.draw_text(&shortened(&base.name), &style, (LABELS as i32, y))?;
    }
    Ok(chart)
}

fn judged(setting: &SettingSummary, answers: bool) -> f64 {
    match &setting.exact_match {
        Some(figure) if answers => 100.0 * figure.mean,
        _ => setting.loss.mean,
    }
}

/// The end of a long name, which is more specific than its beginning.
fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= LONGEST_NAME {
        return name.to_owned();
    }
    let kept: String = name.chars().skip(length - LONGEST_NAME + 1).collect();
    format!("…{kept}")
}
