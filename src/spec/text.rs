//! Values that are one text in a lab file: each is written as it is read.

/// Lets serde read a type by its `new`, and write it by its `Display`.
macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = String;

            fn try_from(text: String) -> Result<$kind, String> {
                <$kind>::new(&text)
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> String {
                value.to_string()
            }
        }
    )*};
}
