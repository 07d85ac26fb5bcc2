//! Medians and their confidence intervals, without assumptions about the distribution.

/// The median of samples and a 95 % confidence interval for it from order statistics (the binomial argument: the
/// population median lies between the k-th smallest and k-th largest of n samples with a known probability).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// Median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Number of samples.
    pub samples: usize,
}

/// Summarises samples; `None` of no samples.
pub fn summarize(samples: &[f64]) -> Option<Summary> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let middle = n.checked_sub(1)? / 2;
    let median = if n % 2 == 1 { sorted[middle] } else { (sorted[middle] + sorted[middle + 1]) / 2.0 };
    let cut = tail_count(n);
    Some(Summary { median, low: sorted[cut], high: sorted[n - 1 - cut], samples: n })
}

/// The largest k with P(fewer than or equal k of n fair coins are heads) <= 2.5 %; 0 where even k = 0 is likelier.
fn tail_count(n: usize) -> usize {
    let mut term = 0.5f64.powi(n.min(1000) as i32);
    let mut total = term;
    let mut k = 0;
    while total <= 0.025 && k < n / 2 {
        term *= (n - k) as f64 / (k + 1) as f64;
        if total + term > 0.025 {
            break;
        }
        total += term;
        k += 1;
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_come_from_the_binomial_table() {
        // Conover, "Practical Nonparametric Statistics": n = 20 gives the 6th and 15th order statistics.
        assert_eq!(tail_count(20), 5);
        assert_eq!(tail_count(5), 0);
        let samples: Vec<f64> = (1..=20).map(f64::from).collect();
        let s = summarize(&samples).unwrap();
        assert_eq!((s.median, s.low, s.high), (10.5, 6.0, 15.0));
        assert!(summarize(&[]).is_none());
        assert_eq!(summarize(&[3.0]).unwrap().median, 3.0);
    }
}
