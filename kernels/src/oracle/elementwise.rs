use super::put;
use crate::*;

impl ElementwiseKernels for f64 {
    fn relu_forward(_: Isa, x: &[Self], y: &mut [Self]) {
        for i in 0..x.len() {
            y[i] = x[i].max(0.0);
        }
    }
    fn relu_backward(_: Isa, y: &[Self], dy: &[Self], mut dx: Grad<'_, Self>) {
        for i in 0..y.len() {
            put(&mut dx, i, if y[i] > 0.0 { dy[i] } else { 0.0 });
        }
    }
    fn sigmoid_forward(_: Isa, x: &[Self], y: &mut [Self]) {
        for i in 0..x.len() {
            // exp(-x) = infinity is well: the quotient is then 0.
            y[i] = 1.0 / (1.0 + (-x[i]).exp());
        }
    }
    fn sigmoid_backward(_: Isa, y: &[Self], dy: &[Self], mut dx: Grad<'_, Self>) {
        for i in 0..y.len() {
            put(&mut dx, i, dy[i] * y[i] * (1.0 - y[i]));
        }
    }
    fn add_forward(_: Isa, a: &[Self], b: &[Self], y: &mut [Self]) {
        for i in 0..a.len() {
            y[i] = a[i] + b[i];
        }
    }
    fn add_backward(_: Isa, dy: &[Self], mut dx: Grad<'_, Self>) {
        dy.iter().enumerate().for_each(|(i, dy)| put(&mut dx, i, *dy));
    }
    fn add_relu_forward(_: Isa, a: &[Self], b: &[Self], y: &mut [Self]) {
        for i in 0..a.len() {
            y[i] = (a[i] + b[i]).max(0.0);
        }
    }
    fn bias_forward(_: Isa, x: &[Self], b: &[Self], y: &mut [Self]) {
        for i in 0..x.len() {
            y[i] = x[i] + b[i % b.len()];
        }
    }
    fn bias_backward(_: Isa, dy: &[Self], mut db: Grad<'_, Self>) {
        let c = db.to.len();
        for k in 0..c {
            put(&mut db, k, dy.iter().skip(k).step_by(c).sum());
        }
    }
}
