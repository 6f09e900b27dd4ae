//! Payload numbers that were used in a dialog: none ever changes its codec (RFC 3264 8.3.2).

use crate::media::codec::Codec;

/// The numbers of one m-line in one dialog.
#[derive(Clone, Debug, Default)]
pub struct PayloadHistory {
    used: Vec<(u8, Codec)>,
}

impl PayloadHistory {
    /// The codec that `number` stands for in this dialog.
    #[must_use]
    pub fn codec(&self, number: u8) -> Option<Codec> {
        self.used.iter().find(|(n, _)| *n == number).map(|(_, codec)| *codec)
    }
}
