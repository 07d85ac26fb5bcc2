//! Places in one block: best fit by lifetime. Large buffers choose first, since small ones fit into the gaps that are left.

/// Alignment of every place: the widest vector, and a cache line.
pub(super) const ALIGN: usize = 64;

/// Something that needs `bytes` from position `first` to position `last`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) bytes: usize,
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Request {
    fn meets(&self, other: &Request) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// An offset for each request, and the bytes of the block. Requests that are live at a common position do not overlap.
pub(super) fn place(requests: &[Request]) -> (Vec<usize>, usize) {
    let size = |r: &Request| r.bytes.div_ceil(ALIGN) * ALIGN;
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(size(&requests[i])), requests[i].first, i));
    let mut offsets = vec![0; requests.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let need = size(&requests[i]);
        if need == 0 {
            continue;
        }
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| requests[i].meets(&requests[j]))
            .map(|&j| (offsets[j], offsets[j] + size(&requests[j])))
            .collect();
        taken.sort_unstable();
        let mut best: Option<(usize, usize)> = None;
        let mut end = 0;
        for (from, to) in taken {
            let gap = from.saturating_sub(end);
            if gap >= need && best.is_none_or(|(room, _)| gap < room) {
                best = Some((gap, end));
            }
            end = end.max(to);
        }
        offsets[i] = best.map_or(end, |(_, at)| at);
        total = total.max(offsets[i] + need);
        placed.push(i);
    }
    (offsets, total)
}

/// The most bytes that are live at one position: what no placement can go below.
pub(super) fn live_peak(requests: &[Request]) -> usize {
    let size = |r: &Request| (r.bytes.div_ceil(ALIGN) * ALIGN) as i64;
    let mut events: Vec<(u32, i64)> = Vec::with_capacity(2 * requests.len());
    for r in requests {
        events.push((r.first, size(r)));
        events.push((r.last + 1, -size(r)));
    }
    // At one position what ends comes before what begins.
    events.sort_unstable();
    let (mut live, mut peak) = (0, 0);
    for (_, change) in events {
        live += change;
        peak = peak.max(live);
    }
    peak as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(requests: &[Request]) -> (usize, usize) {
        let (offsets, total) = place(requests);
        for (i, a) in requests.iter().enumerate() {
            assert_eq!(offsets[i] % ALIGN, 0);
            assert!(offsets[i] + a.bytes <= total);
            for (j, b) in requests.iter().enumerate().skip(i + 1) {
                let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                assert!(!a.meets(b) || apart || a.bytes == 0 || b.bytes == 0, "{i} {a:?} overlaps {j} {b:?}");
            }
        }
        (total, live_peak(requests))
    }

    #[test]
    fn live_requests_never_overlap() {
        let mut state = 7u64;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let (mut placed, mut least) = (0, 0);
        for _ in 0..200 {
            let count = 1 + draw(40);
            let requests: Vec<Request> = (0..count)
                .map(|_| {
                    let first = draw(50) as u32;
                    Request { bytes: draw(5000) as usize, first, last: first + draw(12) as u32 }
                })
                .collect();
            let (total, peak) = check(&requests);
            assert!(total >= peak);
            placed += total;
            least += peak;
        }
        assert!(placed as f64 <= 1.15 * least as f64, "{placed} bytes where {least} would do");
    }

    #[test]
    fn a_chain_needs_two_places() {
        let chain: Vec<Request> = (0..10).map(|i| Request { bytes: 256, first: i, last: i + 1 }).collect();
        assert_eq!(check(&chain).0, 512);
    }
}
