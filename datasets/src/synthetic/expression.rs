//! What each expression does to the features.

use crate::{Rng, classes};

/// Displacements of the features from a neutral face, in face units (half a head's width is about
/// 0.8); y points down.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expression {
    pub(super) brow_inner: f32,
    pub(super) brow_outer: f32,
    pub(super) brow_arch: f32,
    /// Inner ends drawn together.
    pub(super) brow_together: f32,
    pub(super) furrow: f32,
    /// Change of the upper and lower lid's distance from the eye's centre.
    pub(super) upper_lid: f32,
    pub(super) lower_lid: f32,
    /// Outer corner of the upper lid lowered.
    pub(super) lid_droop: f32,
    pub(super) nose_wrinkle: f32,
    /// Fold from the nose to the mouth, and cheeks.
    pub(super) fold: f32,
    pub(super) mouth_width: f32,
    pub(super) mouth_open: f32,
    /// Corners lowered.
    pub(super) corners: f32,
    /// Upper lip raised, on one side more.
    pub(super) lip_raise: f32,
    pub(super) lip_skew: f32,
    /// 0 full lips to 1 pressed ones.
    pub(super) pressed: f32,
    pub(super) teeth: f32,
    /// Added to the exponent 2 of the lips' curves: the more, the squarer the opening.
    pub(super) square: f32,
    /// 0 for lips that meet at an angle, towards 1 for a round opening.
    pub(super) round: f32,
}

impl Expression {
    /// A random rendering of class `label`.
    #[rustfmt::skip]
    pub(super) fn draw(rng: &mut Rng, label: usize) -> Self {
        let open_smile = rng.uniform();
        let gape = rng.range(0.6, 1.1);
        let side = if rng.uniform() < 0.5 { 1.0 } else { -1.0 };
        let peak = match classes::FER2013.get(label).copied().unwrap_or_default() {
            "angry" => Self {
                brow_inner: 0.15, brow_outer: -0.05, brow_arch: -0.03, brow_together: 0.09, furrow: 1.0,
                upper_lid: -0.045, lower_lid: -0.02, mouth_width: -0.04, corners: 0.05, pressed: 1.0,
                ..Self::default()
            },
            "disgust" => Self {
                brow_inner: 0.09, brow_outer: 0.03, brow_together: 0.03, furrow: 0.3, upper_lid: -0.06,
                lower_lid: -0.035, nose_wrinkle: 1.0, fold: 0.8, mouth_open: 0.07, corners: 0.07,
                lip_raise: 0.13, lip_skew: 0.10 * side, teeth: 0.6, ..Self::default()
            },
            "fear" => Self {
                brow_inner: -0.20, brow_outer: -0.07, brow_arch: -0.02, brow_together: 0.07, furrow: 0.3,
                upper_lid: 0.075, lower_lid: 0.02, mouth_width: 0.12, mouth_open: 0.20, corners: 0.07,
                teeth: 0.5, square: 2.5, ..Self::default()
            },
            "happy" => Self {
                upper_lid: -0.025, lower_lid: -0.04, fold: 1.0, mouth_width: 0.13,
                mouth_open: 0.16 * open_smile, corners: -0.19, teeth: 1.0, ..Self::default()
            },
            "sad" => Self {
                brow_inner: -0.15, brow_outer: 0.08, brow_together: 0.03, upper_lid: -0.035, lid_droop: 0.07,
                mouth_width: -0.05, corners: 0.15, ..Self::default()
            },
            "surprise" => Self {
                brow_inner: -0.20, brow_outer: -0.18, brow_arch: 0.07, upper_lid: 0.09, lower_lid: 0.06,
                mouth_width: -0.16, mouth_open: 0.38 * gape, round: 0.45, ..Self::default()
            },
            _ => Self::default(),
        };
        let strength = rng.range(0.85, 1.2);
        let mut vary = |value: f32, spread: f32| value * strength * rng.range(0.85, 1.15) + spread * rng.normal();
        Self {
            brow_inner: vary(peak.brow_inner, 0.015),
            brow_outer: vary(peak.brow_outer, 0.015),
            brow_arch: vary(peak.brow_arch, 0.015),
            brow_together: vary(peak.brow_together, 0.012),
            furrow: vary(peak.furrow, 0.0),
            upper_lid: vary(peak.upper_lid, 0.01),
            lower_lid: vary(peak.lower_lid, 0.008),
            lid_droop: vary(peak.lid_droop, 0.01),
            nose_wrinkle: vary(peak.nose_wrinkle, 0.0),
            fold: vary(peak.fold, 0.08),
            mouth_width: vary(peak.mouth_width, 0.02),
            mouth_open: vary(peak.mouth_open, 0.006),
            corners: vary(peak.corners, 0.018),
            lip_raise: vary(peak.lip_raise, 0.006),
            lip_skew: vary(peak.lip_skew, 0.008),
            pressed: vary(peak.pressed, 0.06).clamp(-0.3, 1.0),
            teeth: peak.teeth,
            square: peak.square,
            round: peak.round,
        }
    }
}
