//! From when until when a certificate counts (RFC 5280, section 4.1): two times, the only thing that we read of it.

use hostler_core::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate begins and ends to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    /// That of a certificate in DER; none when it does not read as one.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, whole, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
        let (_, mut fields, _) = element(whole).filter(|(tag, ..)| *tag == SEQUENCE)?;
        let (first, _, rest) = element(fields)?;
        if first == VERSION {
            fields = rest;
        }
        // Serial number, algorithm of the signature, issuer.
        for _ in 0..3 {
            fields = element(fields)?.2;
        }
        let (_, validity, _) = element(fields).filter(|(tag, ..)| *tag == SEQUENCE)?;
        let (tag, from, rest) = element(validity)?;
        let (other, until, _) = element(rest)?;
        Some(Self { from: time(tag, from)?, until: time(other, until)? })
    }
}

/// The first element: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let digits = rest.get(..usize::from(first & 0x7f)).filter(|digits| digits.len() <= 4)?;
        rest = &rest[digits.len()..];
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, where 50 and more are of the last century, or the same with four digits of the year.
fn time(tag: u8, content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?;
    let text = match tag {
        UTC_TIME if text.get(..2)?.parse::<u8>().ok()? >= 50 => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let zoned = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp(zoned.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let validity = Validity::of(&certificate((2020, 1, 2), (2120, 3, 4))).unwrap();
        assert_eq!(validity.from.to_string(), "2020-01-02T00:00:00.000Z");
        assert_eq!(validity.until.to_string(), "2120-03-04T00:00:00.000Z");
        let validity = Validity::of(&certificate((1999, 12, 31), (2049, 1, 1))).unwrap();
        assert_eq!((validity.from.0, validity.until.0), (946_598_400_000, 2_493_072_000_000));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_no_certificate_and_no_panic() {
        let whole = certificate((2020, 1, 2), (2120, 3, 4));
        for length in 0..whole.len() {
            let _ = Validity::of(&whole[..length]);
        }
        assert_eq!(Validity::of(&whole[..100]), None);
        assert_eq!(Validity::of(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(Validity::of(&[SEQUENCE, 0xff]), None);
    }
}
