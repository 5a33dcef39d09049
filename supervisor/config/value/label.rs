//! The SELinux label of images: selinux(8), "Security contexts".

use std::fmt;
use std::str::FromStr;

use super::invalid::{Invalid, quoted};

/// The maximum length of a label in bytes, which exceeds that of any policy.
const LONGEST: usize = 255;

/// The label to set on an image, or the request to keep its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLabel(Option<String>);

impl ImageLabel {
    /// The label; `None` to keep that of the image.
    pub fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromStr for ImageLabel {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.eq_ignore_ascii_case("no") {
            return Ok(Self(None));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let range = |c: char| plain(c) || ":,".contains(c);
        // user:role:type, and with MLS a range, which may contain colons.
        let mut parts = text.splitn(4, ':');
        let names = [parts.next(), parts.next(), parts.next()];
        let named =
            names.iter().all(|name| name.is_some_and(|name| !name.is_empty() && name.chars().all(plain)));
        if named && parts.all(|part| !part.is_empty() && part.chars().all(range)) && text.len() <= LONGEST {
            return Ok(Self(Some(text.to_owned())));
        }
        let why = format!("label {} is not of the form USER:ROLE:TYPE[:RANGE]", quoted(text));
        Err(Invalid::new(why, "write one such as u:object_r:vold_data_file:s0, or no"))
    }
}

impl fmt::Display for ImageLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.0.as_deref().unwrap_or("no"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_three_names_and_perhaps_a_range() {
        for good in ["u:object_r:vold_data_file:s0", "system_u:object_r:svirt_t:s0-s0:c0.c1023,c5", "a:b:c"] {
            let label: ImageLabel = good.parse().unwrap();
            assert_eq!((label.as_deref(), label.to_string().as_str()), (Some(good), good));
        }
        let none: ImageLabel = "No".parse().unwrap();
        assert_eq!((none.as_deref(), none.to_string().as_str()), (None, "no"));
        for bad in ["", "yes", "a:b", "a::c", ":b:c", "a:b:c:", "a:b c:d", "a:b:c\n", "a:b:ü"] {
            assert!(bad.parse::<ImageLabel>().is_err(), "{bad:?}");
        }
        assert!(format!("a:b:{}", "c".repeat(256)).parse::<ImageLabel>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_read_again(text in "\\PC{0,20}|[a-z]{1,4}(:[a-z0-9.,]{1,4}){1,5}") {
            if let Ok(label) = text.parse::<ImageLabel>() {
                proptest::prop_assert_eq!(label.to_string().parse::<ImageLabel>().unwrap(), label);
            }
        }
    }
}
