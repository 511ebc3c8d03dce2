//! What may be done to a sound before it is listened to (row I1): level, fade, constant offset. Each
//! works in place and may be chained. Samples that are not finite count for nothing and stay.

use super::Sound;

impl Sound {
    /// Scales the sound so that its largest sample is 1 or −1. Silence stays silent.
    pub fn normalize(&mut self) -> &mut Self {
        let finite = self.samples.iter().map(|sample| sample.abs()).filter(|s| s.is_finite());
        let peak = finite.fold(0f32, f32::max);
        if peak > 0. && peak != 1. {
            // The reciprocal of the smallest numbers is infinite.
            self.samples.iter_mut().for_each(|sample| *sample /= peak);
        }
        self
    }

    /// Fades in over the first and out over the last frames: the first and the last frame of the sound
    /// become 0, the factor of the frame `i` steps inward is `i / length`. Fades that overlap multiply;
    /// a length of 0 does nothing.
    pub fn fade(&mut self, fade_in: usize, fade_out: usize) -> &mut Self {
        let channels = self.channels.max(1);
        let scale = |frame: &mut [f32], i: usize, length: usize| {
            let factor = i as f32 / length as f32;
            frame.iter_mut().for_each(|sample| *sample *= factor);
        };
        let frames = self.samples.chunks_exact_mut(channels).take(fade_in);
        frames.enumerate().for_each(|(i, frame)| scale(frame, i, fade_in));
        let frames = self.samples.chunks_exact_mut(channels).rev().take(fade_out);
        frames.enumerate().for_each(|(i, frame)| scale(frame, i, fade_out));
        self
    }

    /// Subtracts from each channel its mean.
    pub fn remove_dc_offset(&mut self) -> &mut Self {
        let channels = self.channels.max(1);
        for channel in 0..channels {
            let samples = self.samples.iter().skip(channel).step_by(channels);
            let finite = samples.filter(|sample| sample.is_finite());
            let (sum, count) =
                finite.fold((0f64, 0u64), |(sum, n), s| (sum + f64::from(*s), n + 1));
            if count > 0 {
                let mean = (sum / count as f64) as f32;
                let samples = self.samples.iter_mut().skip(channel).step_by(channels);
                samples.for_each(|sample| *sample -= mean);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mono(samples: &[f32]) -> Sound {
        Sound { samples: samples.to_vec(), rate: 8000, channels: 1 }
    }

    fn assert_close(sound: &Sound, wanted: &[f32]) {
        assert_eq!(sound.samples.len(), wanted.len());
        for (found, wanted) in sound.samples.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-6, "{:?}", sound.samples);
        }
    }

    #[test]
    fn the_largest_sample_becomes_one() {
        let loud = [0.2, -0.5, 0.8, -1.0];
        assert_close(mono(&loud).normalize(), &loud);
        assert_close(mono(&[0.25, -0.5]).normalize(), &[0.5, -1.0]);
        assert_close(mono(&[0.0; 3]).normalize(), &[0.0; 3]);
        assert_close(mono(&[]).normalize(), &[]);
        let mut odd = mono(&[f32::NAN, 0.5, f32::INFINITY]);
        assert_eq!(odd.normalize().samples[1], 1.0);
        assert!(odd.samples[0].is_nan() && odd.samples[2] == f32::INFINITY);
        assert_close(mono(&[1e-40, 0.]).normalize(), &[1., 0.]);
    }

    #[test]
    fn a_fade_ends_at_zero_on_both_sides() {
        let third = 1. / 3.;
        let wanted = [0., third, 2. * third, 1., 1., 1., 1., 2. * third, third, 0.];
        assert_close(mono(&[1.; 10]).fade(3, 3), &wanted);
        assert_close(mono(&[1.; 4]).fade(0, 0), &[1.; 4]);
        assert_close(mono(&[1.; 2]).fade(5, 0), &[0., 0.2]);
        assert_close(mono(&[1.; 2]).fade(5, 5), &[0., 0.]);
        assert_close(mono(&[1.; 4]).fade(4, 4), &[0., 0.125, 0.125, 0.]);
        assert_close(mono(&[]).fade(5, 5), &[]);
        let mut stereo = Sound { samples: vec![1.; 8], rate: 8000, channels: 2 };
        assert_close(stereo.fade(2, 2), &[0., 0., 0.5, 0.5, 0.5, 0.5, 0., 0.]);
    }

    #[test]
    fn a_constant_goes_away_in_each_channel() {
        assert_close(mono(&[1.; 5]).remove_dc_offset(), &[0.; 5]);
        assert_close(mono(&[]).remove_dc_offset(), &[]);
        let mut odd = mono(&[1., f32::NAN, 3.]);
        assert_eq!(odd.remove_dc_offset().samples[0], -1.);
        assert!(odd.samples[1].is_nan());
        let mut stereo = Sound { samples: vec![1., -2., 3., -4.], rate: 8000, channels: 2 };
        assert_close(stereo.remove_dc_offset(), &[-1., 1., 1., -1.]);
        assert_close(mono(&[0.5, 0.1]).remove_dc_offset().normalize().fade(1, 1), &[0., 0.]);
    }
}
