from typing import List

import torch
from torch import Tensor


def main() -> None:
    t = torch.zeros(3, 4)
    t[0] = 1
    t[1, 2] = 5.5
    t[:, 0] += 2
    t[2, 1:3] = torch.tensor([7.0, 8.0])
    print(t)
    t[t > 5] = -1
    print(t)
    t[torch.tensor([0, 2])] *= 10
    print(t)
    t[..., -1] = torch.arange(3.0)
    print(t, t.shape[0], t.size(1), t.dim())
    t[[0, 1], [2, 3]] = 9
    print(t)
    view = t[1]
    view.add_(100).mul_(0.5)
    print(t[1], t.sum().item())
    same = t
    same += 1
    print(t[0, 0].item(), (t == same).all().item())
    counts = torch.zeros(3, dtype=torch.int64)
    for i in [0, 1, 1, 2, 2, 2]:
        counts[i] += 1
    print(counts, counts.sum().item() // 2, int(counts[2]), float(counts[1]))
    if counts[0] < counts[2]:
        print("less")
    n = 0
    x = torch.tensor(1.0)
    while x < 100:
        x = x * 3
        n += 1
    print(n, x)
    for row in torch.arange(6).reshape(3, 2):
        print(row, row[0].item())
    a, b = torch.arange(4).reshape(2, 2)
    print(a, b)
    values, places = torch.tensor([[1.0, 3.0, 2.0]]).max(dim=1)
    print(values, places)
    left, right = torch.arange(4).chunk(2)
    print(left, right)
    s = torch.tensor([3, 1, 2]).sort()
    print(s.values, s.indices)
    m = torch.ones(2, 3) @ torch.ones(3, 2)
    m -= torch.eye(2)
    m /= 2
    m **= 2
    print(m, m.T.shape[0])
    print(torch.cat([torch.zeros(1), torch.ones(2)]), torch.stack([a, b]).sum(dim=0))
    u = torch.arange(10)
    print(u[2:8:3], u[-3:], u[u % 2 == 0], u[None, :3].shape[0])
    masked = torch.where(u > 4, u, torch.zeros(10, dtype=torch.int64))
    as_list: List[int] = masked.tolist()
    print(as_list == [0, 0, 0, 0, 0, 5, 6, 7, 8, 9])
    print(f"{x.item():.1f} {x:.2f}", x.dtype, torch.float64)
    w = torch.zeros(2, 2)
    w.fill_(3)
    w.copy_(torch.tensor([1.0, 2.0]))
    print(w, w.zero_().sum())
    print(torch.full((2,), 7), torch.ones(2, 2, dtype=torch.int32))
