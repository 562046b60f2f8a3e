//! Faces through the frames of a film.

use super::Square;

/// The smallest overlap at which two squares are the same face: half of that between a square and one moved by half
/// its side.
const SAME: f32 = 0.17;

/// Frames in which a face may be missing before it is forgotten: half a second at 30 frames a second.
const PATIENCE: u32 = 15;

/// Follows faces from frame to frame, and smooths their probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracker {
    /// Weight of the past, 0 to 1.
    smooth: f32,
    tracks: Vec<Track>,
    next: u32,
}

#[derive(Clone, Debug, PartialEq)]
struct Track {
    id: u32,
    place: Square,
    probabilities: Vec<f32>,
    missing: u32,
}

impl Tracker {
    /// With p = `smooth` * (p before) + (1 - `smooth`) * (p of the frame): exponential smoothing, none at 0.
    pub fn new(smooth: f32) -> Self {
        Self { smooth, tracks: Vec::new(), next: 0 }
    }

    /// Takes the faces of the next frame; returns each one's number, which stays the same from frame to frame, and its
    /// smoothed probabilities. Pairs of squares are matched in the order of their overlap.
    pub fn update(&mut self, faces: &[(Square, Vec<f32>)]) -> Vec<(u32, Vec<f32>)> {
        let tracks = self.tracks.iter().enumerate();
        let mut pairs: Vec<(f32, usize, usize)> = tracks
            .flat_map(|(t, track)| {
                faces.iter().enumerate().map(move |(f, (place, _))| (track.place.overlap(place), t, f))
            })
            .filter(|(overlap, ..)| *overlap >= SAME)
            .collect();
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));

        let mut track_of = vec![None; faces.len()];
        self.tracks.iter_mut().for_each(|track| track.missing += 1);
        for (_, t, f) in pairs {
            // A track that has been matched is not missing.
            if track_of[f].is_none() && self.tracks[t].missing > 0 {
                track_of[f] = Some(t);
                self.tracks[t].missing = 0;
            }
        }
        let followed = faces.iter().zip(track_of).map(|((place, probabilities), track)| match track {
            Some(t) => {
                let track = &mut self.tracks[t];
                track.place = *place;
                for (p, new) in track.probabilities.iter_mut().zip(probabilities) {
                    *p = self.smooth * *p + (1.0 - self.smooth) * new;
                }
                (track.id, track.probabilities.clone())
            }
            None => {
                let (id, place, probabilities) = (self.next, *place, probabilities.clone());
                self.next += 1;
                self.tracks.push(Track { id, place, probabilities: probabilities.clone(), missing: 0 });
                (id, probabilities)
            }
        });
        let followed = followed.collect();
        self.tracks.retain(|track| track.missing <= PATIENCE);
        followed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, p: f32) -> (Square, Vec<f32>) {
        (Square { x, y: 0.0, side: 10.0 }, vec![p, 1.0 - p])
    }

    #[test]
    fn probabilities_are_smoothed_face_by_face() {
        let mut tracker = Tracker::new(0.75);
        assert_eq!(
            tracker.update(&[at(0.0, 1.0), at(50.0, 0.0)]),
            [(0, vec![1.0, 0.0]), (1, vec![0.0, 1.0])]
        );
        // In another order, moved, and with a third one.
        let now = tracker.update(&[at(53.0, 1.0), at(100.0, 0.5), at(1.0, 0.0)]);
        assert_eq!(now, [(1, vec![0.25, 0.75]), (2, vec![0.5, 0.5]), (0, vec![0.75, 0.25])]);
        assert_eq!(Tracker::new(0.0).update(&[at(0.0, 0.3)])[0].1, at(0.0, 0.3).1);
    }

    #[test]
    fn nearest_squares_are_matched_first() {
        let mut tracker = Tracker::new(0.5);
        tracker.update(&[at(0.0, 1.0), at(4.0, 0.0)]);
        let now = tracker.update(&[at(3.0, 0.0), at(7.0, 0.0)]);
        assert_eq!(now.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn lost_faces_are_remembered_for_a_while() {
        let mut tracker = Tracker::new(0.5);
        tracker.update(&[at(0.0, 1.0)]);
        (0..PATIENCE).for_each(|_| assert!(tracker.update(&[]).is_empty()));
        assert_eq!(tracker.update(&[at(0.0, 1.0)])[0].0, 0);
        (0..=PATIENCE).for_each(|_| assert!(tracker.update(&[]).is_empty()));
        assert_eq!(tracker.update(&[at(0.0, 1.0)])[0].0, 1);
    }
}
