//! 5,000 real handwritten digits (see `data/mnist/README.md` for origin and licence), embedded in the binary.

use flate2::read::GzDecoder;
use kernels::philox;
use runtime::{Error, ErrorKind, Result, Tensor};
use std::io::Read;

static DIGITS: &[u8] = include_bytes!("../../data/mnist/mnist5k.bin.gz");

/// Images of the training part; the rest is for testing.
pub const TRAIN: usize = 4000;

/// Pixels of one image.
pub const PIXELS: usize = 784;

/// Images and labels.
pub struct Digits {
    /// Brightness, 784 bytes an image.
    pixels: Vec<u8>,
    /// 0 to 9.
    labels: Vec<u8>,
}

/// Refuse files that claim more images than this before allocating for them.
const MOST_IMAGES: usize = 1 << 20;

impl Digits {
    /// The embedded digits.
    pub fn load() -> Result<Digits> {
        Digits::parse(DIGITS)
    }

    /// Reads the file format: gzip of `TFMNIST1`, counts of images, rows and columns (u32, little endian), labels, pixels.
    pub fn parse(file: &[u8]) -> Result<Digits> {
        let bad = |what: String| Error::new(ErrorKind::File, format!("digits: {what}"));
        let mut reader = GzDecoder::new(file);
        let mut header = [0u8; 20];
        reader.read_exact(&mut header).map_err(|e| bad(format!("the header cannot be read: {e}")))?;
        if &header[..8] != b"TFMNIST1" {
            return Err(bad("the file does not begin with TFMNIST1".into()));
        }
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
        };
        let (count, rows, columns) = (word(8), word(12), word(16));
        if rows * columns != PIXELS || count == 0 || count > MOST_IMAGES {
            return Err(bad(format!("{count} images of {rows} x {columns} pixels are not 28 x 28 digits")));
        }
        let mut labels = Vec::new();
        let mut pixels = Vec::new();
        for (part, wanted, what) in [(&mut labels, count, "labels"), (&mut pixels, count * PIXELS, "pixels")]
        {
            let got = reader
                .by_ref()
                .take(wanted as u64)
                .read_to_end(part)
                .map_err(|e| bad(format!("{what}: {e}")))?;
            if got != wanted {
                return Err(bad(format!("truncated: {got} of {wanted} bytes of {what}")));
            }
        }
        if reader.read(&mut [0]).map_err(|e| bad(e.to_string()))? != 0 {
            return Err(bad("bytes follow the last image".into()));
        }
        if let Some(at) = labels.iter().position(|&l| l > 9) {
            return Err(bad(format!("label {} of image {at} is not a digit", labels[at])));
        }
        Ok(Digits { pixels, labels })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none; a parsed file has at least one.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images with these numbers as f32 `[n, 784]` in 0..=1, and their labels as i64 `[n]`.
    pub fn batch(&self, numbers: &[usize]) -> Result<(Tensor, Tensor)> {
        let mut images = Vec::with_capacity(numbers.len() * PIXELS);
        let mut labels = Vec::with_capacity(numbers.len());
        for &i in numbers {
            let (image, label) = (self.pixels.get(i * PIXELS..(i + 1) * PIXELS), self.labels.get(i));
            let (Some(image), Some(label)) = (image, label) else {
                return Err(Error::index(format!("image {i} of {}", self.len())));
            };
            images.extend(image.iter().map(|&p| p as f32 / 255.0));
            labels.push(*label as i64);
        }
        Ok((
            Tensor::from_slice(&images, &[numbers.len(), PIXELS])?,
            Tensor::from_slice(&labels, &[numbers.len()])?,
        ))
    }

    /// Full batches of one epoch over the training part in an order that is a function of the epoch alone.
    pub fn epoch(&self, epoch: u64, batch: usize) -> Result<Vec<(Tensor, Tensor)>> {
        let order = shuffled(TRAIN.min(self.len()), epoch);
        order.chunks_exact(batch).map(|numbers| self.batch(numbers)).collect()
    }

    /// The test part.
    pub fn test(&self) -> Result<(Tensor, Tensor)> {
        self.batch(&(TRAIN.min(self.len())..self.len()).collect::<Vec<_>>())
    }
}

/// 0..n in the order of their random words: the same everywhere for the same seed.
fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut keyed: Vec<(u32, usize)> =
        (0..n).map(|i| (philox::random_bits(seed as i64, 0, i as i64, 0), i)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn the_embedded_digits_are_whole() {
        let digits = Digits::load().unwrap();
        assert_eq!(digits.len(), 5000);
        let (x, y) = digits.test().unwrap();
        assert_eq!((x.shape(), y.shape()), (&[1000, 784][..], &[1000][..]));
        let batches = digits.epoch(1, 64).unwrap();
        assert_eq!(batches.len(), 62);
        let mut order = shuffled(100, 3);
        assert_ne!(order, shuffled(100, 4));
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_files_are_errors() {
        assert!(Digits::parse(b"not gzip at all, just some text").is_err());
        assert!(Digits::parse(&DIGITS[..DIGITS.len() / 2]).is_err());
        let mut header = b"TFMNIST1".to_vec();
        for n in [u32::MAX, 28, 28] {
            header.extend(n.to_le_bytes());
        }
        let error = Digits::parse(&packed(&header)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::File);
        header[8..12].copy_from_slice(&2u32.to_le_bytes());
        header.extend([3, 11]);
        header.extend(vec![0; 2 * PIXELS]);
        assert!(Digits::parse(&packed(&header)).err().unwrap().to_string().contains("label 11"));
        header[21] = 9;
        assert!(Digits::parse(&packed(&header)).is_ok());
        header.push(0);
        assert!(Digits::parse(&packed(&header)).is_err());
    }
}
