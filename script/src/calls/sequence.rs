//! torch's calls on sequences: the loss of alignments, attention of many heads.

use super::{Call, Entry, Value, one};
use runtime::Tensor;
use runtime::error::Result;
use runtime::ops::{Heads, Lengths, Projection};

/// Lengths: a tensor, or ints of the host.
fn lengths<'v>(c: &'v Call, name: &str, list: &'v mut Vec<i64>) -> Result<Lengths<'v>> {
    if let Some(Value::Tensor(t)) = c.value(name) {
        return Ok(Lengths::Tensor(t));
    }
    *list = c.ints(name)?;
    Ok(Lengths::List(list))
}

fn ctc_loss(c: &Call) -> Result<Vec<Tensor>> {
    let (mut inputs, mut symbols) = (Vec::new(), Vec::new());
    let inputs = lengths(c, "input_lengths", &mut inputs)?;
    let symbols = lengths(c, "target_lengths", &mut symbols)?;
    let (how, zero) = (c.str("reduction", "mean")?, c.flag("zero_infinity", false)?);
    let (targets, blank) = (c.tensor("targets")?, c.int("blank", 0)?);
    one(c.tensor("log_probs")?.ctc_loss(targets, inputs, symbols, blank, how, zero))
}

fn multi_head_attention(c: &Call) -> Result<Vec<Tensor>> {
    let separate = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];
    let weights = match c.flag("use_separate_proj_weight", false)? {
        false => Projection::Packed(c.tensor("in_proj_weight")?),
        true => {
            Projection::Separate([c.tensor(separate[0])?, c.tensor(separate[1])?, c.tensor(separate[2])?])
        }
    };
    let heads = Heads {
        embed_dim: c.int("embed_dim_to_check", 0)?,
        count: c.int("num_heads", 1)?,
        weights,
        biases: c.optional("in_proj_bias")?,
        more: [c.optional("bias_k")?, c.optional("bias_v")?],
        more_zeros: c.flag("add_zero_attn", false)?,
        fixed: [c.optional("static_k")?, c.optional("static_v")?],
        dropout: if c.flag("training", true)? { c.float("dropout_p", 0.0)? } else { 0.0 },
        out_weight: c.tensor("out_proj_weight")?,
        out_bias: c.optional("out_proj_bias")?,
        padding: c.optional("key_padding_mask")?,
        mask: c.optional("attn_mask")?,
        causal: c.flag("is_causal", false)?,
        need_weights: c.flag("need_weights", true)?,
        average_weights: c.flag("average_attn_weights", true)?,
    };
    let (query, key, value) = (c.tensor("query")?, c.tensor("key")?, c.tensor("value")?);
    let (out, weights) = query.multi_head_attention(key, value, &heads)?;
    Ok(std::iter::once(out).chain(weights).collect())
}

pub(super) const FUNCTIONS: &[Entry] = &[
    (
        "torch.nn.functional.ctc_loss",
        "log_probs targets input_lengths target_lengths blank? reduction? zero_infinity?",
        ctc_loss,
    ),
    (
        "torch.nn.functional.multi_head_attention_forward",
        "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn dropout_p \
         out_proj_weight out_proj_bias training? key_padding_mask? need_weights? attn_mask? use_separate_proj_weight? \
         q_proj_weight? k_proj_weight? v_proj_weight? static_k? static_v? average_attn_weights? is_causal?",
        multi_head_attention,
    ),
];
