//! Results of several runs.

/// Mean and standard deviation of a sample (divided by its number less one, hence NaN for a single value).
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_of_a_sample() {
        let (mean, std) = mean_and_deviation(&[0.5, 0.6, 0.7]);
        assert!((mean - 0.6).abs() < 1e-15 && (std - 0.1).abs() < 1e-15);
    }
}
