//! Gradients of parts are added where they lie: every bit is that of sums of whole gradients, signs of zero too.

use eager::{Autograd, GradOptions, grad};

use runtime::{DType, DeviceId, Tensor};

/// A small generator of its own, so that a failure names its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n) as i64
    }
}

/// A view of a part of a matrix, or the matrix itself.
fn part(x: &Tensor, r: &mut Random) -> Tensor {
    let dim = r.below(2);
    let extent = x.shape()[dim as usize] as i64;
    let start = r.below(extent as u64);
    match r.below(6) {
        0 => x.select(dim, start).unwrap(),
        1 => x.slice(dim, Some(start), None, 2).unwrap(),
        2 => x.neg().unwrap(),
        3 => x.slice(0, Some(start.min(3)), Some(4), 1).unwrap().select(1, start.min(2)).unwrap(),
        _ => x.slice(dim, Some(start), Some(start + 1 + r.below(3)), 1).unwrap(),
    }
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn sums_of_parts_have_the_bits_of_sums_of_wholes() {
    for seed in 0..400 {
        let mut r = Random(seed);
        let leaf = Tensor::zeros(&[5, 4], DType::F32, DeviceId::Cpu).unwrap().requires_grad_(true).unwrap();
        // A leaf, or the output of a record.
        let x = if seed % 2 == 0 { leaf.clone() } else { leaf.neg().unwrap() };
        let parts: Vec<Tensor> = (0..2 + r.below(5)).map(|_| part(&x, &mut r)).collect();
        let given: Vec<Tensor> = parts
            .iter()
            .map(|p| {
                let values = [0.0, -0.0, -0.0, 1.5, -2.0, f32::INFINITY];
                let elements: Vec<f32> = (0..p.numel()).map(|_| values[r.below(6) as usize]).collect();
                Tensor::from_slice(&elements, p.shape()).unwrap()
            })
            .collect();
        let (outputs, given): (Vec<&Tensor>, Vec<Option<&Tensor>>) =
            (parts.iter().collect(), given.iter().map(Some).collect());
        let options =
            GradOptions { grad_outputs: Some(&given), retain_graph: Some(true), ..Default::default() };
        let gradient = |options| grad(&outputs, &[&leaf], options).unwrap().remove(0).unwrap();
        let (parts, wholes) = (gradient(options), gradient(GradOptions { create_graph: true, ..options }));
        assert_eq!(bits(&parts), bits(&wholes), "seed {seed}");
    }
}
