//! The op table as text.

use comfy_table::{Table, presets};
use runtime::table::{Effect, Lower, Vjp, table};

/// One row for each op: schema, gradient, lowering, effect, contract.
pub fn render() -> String {
    let mut out = Table::new();
    out.load_style(presets::UTF8_HORIZONTAL_ONLY);
    out.set_header(["schema", "gradient", "lowering", "contract"]);
    for op in table() {
        let gradient = match op.vjp {
            Vjp::Rule(..) => "rule".to_string(),
            Vjp::Zero => "zero".to_string(),
            Vjp::None(why) => format!("none: {why}"),
        };
        let lowering = match (&op.lower, op.effect) {
            (_, Effect::Random) => "loop, random",
            (Lower::Map(_), _) => "map",
            (Lower::Loop(_), _) => "loop",
            (Lower::View(..), _) => "view",
            (Lower::Steps(_), _) => "steps",
        };
        let contract = op.doc.lines().next().unwrap_or("").trim();
        out.add_row([op.schema.to_string(), gradient, lowering.to_string(), contract.to_string()]);
    }
    format!("{out}\n{} ops\n", table().len())
}
