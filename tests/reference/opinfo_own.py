"""Samples of our own beside PyTorch's, for operations whose OpInfo samples are too large to store, or draw random numbers."""

import torch
from torch.testing._internal.common_methods_invocations import ErrorInput, SampleInput


def ctc_loss(dtype, grad):
    def scores(*shape):
        return torch.randn(*shape).log_softmax(-1).to(dtype).requires_grad_(grad)

    rows = torch.tensor([[1, 2, 2, 5], [3, 3, 1, 4], [5, 1, 2, 3]])
    inputs, lengths = (12, 10, 7), (4, 2, 3)
    joined = torch.cat([row[:n] for row, n in zip(rows, lengths)])
    lists = (torch.tensor(inputs), torch.tensor(lengths))
    for reduction in ("mean", "sum", "none"):
        for targets in (rows, joined):
            yield SampleInput(scores(12, 3, 6), args=(targets, inputs, lengths), kwargs={"reduction": reduction})
            yield SampleInput(scores(12, 3, 6), args=(targets, *lists), kwargs={"reduction": reduction, "zero_infinity": True})
    # Another blank, targets that hold anything beyond their lengths, unnormalised scores.
    yield SampleInput(scores(12, 3, 6), args=(rows - 1, inputs, lengths), kwargs={"blank": 5, "reduction": "none"})
    beyond = torch.where(torch.arange(4) < lists[1][:, None], rows, -7)
    yield SampleInput(scores(12, 3, 6), args=(beyond, *lists), kwargs={"reduction": "none"})
    loose = torch.randn(5, 2, 4).to(dtype).requires_grad_(grad)
    yield SampleInput(loose, args=(torch.tensor([[1, 2], [3, 3]]), (5, 4), (2, 2)), kwargs={"reduction": "none"})
    # One sequence without a batch.
    yield SampleInput(scores(6, 4), args=(torch.tensor([2, 2, 1]), torch.tensor(6), torch.tensor(3)), kwargs={"reduction": "none"})
    yield SampleInput(scores(6, 4), args=(torch.tensor([2, 3]), (6,), (2,)))
    # No symbols, no steps, too few steps.
    short = torch.tensor([[1, 2], [3, 1]])
    for lengths in ((0, 2), (0, 0)):
        yield SampleInput(scores(5, 2, 4), args=(short, (5, 4), lengths), kwargs={"reduction": "none"})
        yield SampleInput(scores(5, 2, 4), args=(short, torch.tensor((5, 4)), torch.tensor(lengths)))
    yield SampleInput(scores(5, 2, 4), args=(torch.zeros(0, dtype=torch.int64), (5, 5), (0, 0)), kwargs={"reduction": "sum"})
    yield SampleInput(scores(5, 2, 4), args=(short, (0, 5), (0, 2)), kwargs={"reduction": "none"})
    for tensors in (tuple, torch.tensor):
        args = (short, tensors((1, 5)), tensors((2, 2)))
        yield SampleInput(scores(5, 2, 4), args=args, kwargs={"reduction": "mean", "zero_infinity": True})
        yield SampleInput(scores(5, 2, 4).detach(), args=args, kwargs={"reduction": "none"})
    yield SampleInput(scores(5, 2, 4), args=(short.int(), torch.tensor((5, 4)).int(), torch.tensor((2, 1)).int()))


def ctc_loss_errors():
    x, rows = torch.randn(5, 2, 4).log_softmax(-1), torch.tensor([[1, 2], [3, 1]])
    given = [
        (x, rows, (5, 5), (2, 2), 4), (x, rows, (5, 5), (2, 2), -1), (x, rows, (5,), (2, 2)), (x, rows, (5, 5), (2,)),
        (x, rows, (6, 5), (2, 2)), (x, rows, (-1, 5), (2, 2)), (x, rows, (5, 5), (2, 3)), (x, rows, (5, 5), (2, -1)),
        (x, rows.flatten()[:3], (5, 5), (2, 2)), (x, rows[:1], (5, 5), (2, 2)), (x, rows[None], (5, 5), (2, 2)),
        (x, rows, torch.tensor([5.0, 5.0]), torch.tensor([2, 2])), (x.half(), rows, (5, 5), (2, 2)),
        (x.int(), rows, (5, 5), (2, 2)), (x[None], rows, (5, 5), (2, 2)), (x[0, 0], rows, (5, 5), (2, 2)),
        (x[:0], rows, (0, 0), (2, 2)), (x, rows, (5, 5), (2, 2), 0, "middle"),
    ]
    for args in given:
        yield ErrorInput(SampleInput(args[0], args=args[1:]), error_type=RuntimeError, error_regex="")


def attention(dtype, grad):
    def t(*shape):
        return (torch.randn(*shape) / 2).to(dtype).requires_grad_(grad)

    def sample(query, key, value, e, heads, *, bias=True, extra=False, zero=False, out=None, separate=None, **kwargs):
        first = None if separate else t(3 * e, e)
        args = (key, value, e, heads, first, t(3 * e) if bias else None, t(1, 1, e) if extra else None,
                t(1, 1, e) if extra else None, zero, 0.0, t(out or e, e), t(out or e) if bias else None)
        if separate:
            widths = dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), separate))
            kwargs = {"use_separate_proj_weight": True, **{k: t(e, w) for k, w in widths.items()}, **kwargs}
        return SampleInput(query, args=args, kwargs=kwargs)

    one = t(3, 2, 4)
    hide = torch.tensor([[False, True, False, False], [False, False, False, True]])
    causal = torch.ones(3, 3).triu(1).bool()
    below = torch.zeros(3, 4).masked_fill(torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool(), -torch.inf).to(dtype)
    yield sample(one, one, one, 4, 2)
    yield sample(one, one, one, 4, 1, need_weights=False)
    yield sample(one, one, one, 4, 2, average_attn_weights=False, training=False)
    yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 2)
    yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 4, bias=False, out=6, need_weights=False)
    yield sample(t(3, 4), t(4, 4), t(4, 4), 4, 2)
    yield sample(t(3, 4), t(4, 4), t(4, 4), 4, 2, need_weights=False, key_padding_mask=hide[0])
    yield sample(t(3, 4), t(4, 4), t(4, 4), 4, 2, attn_mask=torch.stack([below, below / 2 - 1]))
    yield sample(one, one, one, 4, 2, attn_mask=causal, is_causal=True)
    yield sample(one, one, one, 4, 2, attn_mask=causal, is_causal=True, need_weights=False)
    yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 2, key_padding_mask=hide)
    yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 2, key_padding_mask=hide, attn_mask=below)
    yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 2, key_padding_mask=hide, attn_mask=below, need_weights=False)
    yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 2, attn_mask=t(4, 3, 4), need_weights=False)
    yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 2, attn_mask=t(4, 3, 4), average_attn_weights=False)
    for need in (True, False):
        yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 2, extra=True, zero=True, key_padding_mask=hide, attn_mask=below, need_weights=need)
        yield sample(t(3, 2, 4), t(4, 2, 5), t(4, 2, 6), 4, 2, separate=(4, 5, 6), need_weights=need)
        yield sample(t(3, 2, 4), t(4, 2, 4), t(4, 2, 4), 4, 2, static_k=t(4, 5, 2), static_v=t(4, 5, 2), need_weights=need)
    yield sample(t(3, 2, 4), t(4, 2, 5), t(4, 2, 6), 4, 2, separate=(4, 5, 6), bias=False, zero=True)


def attention_errors():
    t = torch.randn
    def sample(query, key, value, e=4, heads=2, first=None, bias=(None, None), **kwargs):
        args = (key, value, e, heads, t(12, 4) if first is None else first, t(12), *bias, False, 0.0, t(4, 4), t(4))
        return ErrorInput(SampleInput(query, args=args, kwargs=kwargs), error_type=AssertionError, error_regex="")

    q, k = t(3, 2, 4), t(4, 2, 4)
    yield sample(q, k, k, e=5)
    yield sample(q, k, k, heads=3)
    yield sample(q, k, t(3, 2, 4))
    yield sample(q, k[0], k[0])
    yield sample(q[0, 0], k[0, 0], k[0, 0])
    yield sample(q, k, k, attn_mask=t(3, 3))
    yield sample(q, k, k, attn_mask=t(3, 3, 4))
    yield sample(q, k, k, attn_mask=t(3))
    yield sample(q, k, k, key_padding_mask=torch.zeros(2, 3).bool())
    yield sample(q, k, k, key_padding_mask=torch.zeros(2, 4).int())
    yield sample(q, k, k, bias=(t(1, 1, 4), None))
    yield sample(q, k, k, is_causal=True)
    yield sample(q, k, k, static_k=t(3, 4, 2))
    yield sample(q, k, k, use_separate_proj_weight=True)


OWN = {"nn.functional.ctc_loss": ctc_loss, "nn.functional.multi_head_attention_forward": attention}
OWN_ERRORS = {"nn.functional.ctc_loss": ctc_loss_errors, "nn.functional.multi_head_attention_forward": attention_errors}
