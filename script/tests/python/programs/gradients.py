import torch
from torch import Tensor


def loss_of(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return ((x @ w - y) ** 2).mean()


def main() -> None:
    x = torch.arange(6.0).reshape(3, 2)
    y = torch.tensor([1.0, 2.0, 3.0])
    w = torch.zeros(2, requires_grad=True)
    for step in range(3):
        loss = loss_of(w, x, y)
        loss.backward()
        grad = w.grad
        assert grad is not None
        with torch.no_grad():
            w -= 0.01 * grad
        w.grad = None
        print(step, f"{loss.item():.4f}")
    print(w, w.is_leaf, w.requires_grad, w.grad is None)
    g = torch.autograd.grad(loss_of(w, x, y), [w])
    print(g[0])
    v = torch.tensor(3.0, requires_grad=True)
    first = torch.autograd.grad(v * v * v, [v], create_graph=True)[0]
    second = torch.autograd.grad(first, [v])[0]
    print(first.item(), second.item())
    with torch.no_grad():
        h = v * 2
        with torch.enable_grad():
            k = v * 2
        print(h.requires_grad, k.requires_grad, torch.is_grad_enabled())
    print(torch.is_grad_enabled(), v.detach().requires_grad)
    base = torch.zeros(3)
    z = base * 1
    z[1] = v * 5
    z.sum().backward()
    print(v.grad)
    m = torch.ones(2, requires_grad=True)
    s = m * 2
    s.retain_grad()
    s.backward(torch.tensor([1.0, 3.0]))
    print(m.grad, s.grad)
    d = (m * 3).detach_()
    print(d.requires_grad)
    torch.manual_seed(3)
    a = torch.rand(4)
    torch.manual_seed(3)
    b = torch.rand(4)
    c = torch.zeros(100).uniform_(2, 3)
    e = torch.zeros(100).normal_(5, 0.1)
    print((a == b).all().item(), c.min().item() >= 2, c.max().item() <= 3, abs(e.mean().item() - 5) < 0.1)
