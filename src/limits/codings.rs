//! Bounds of content codings.

/// Codings of one body, one upon the other. Two are what a careless chain of clients and proxies
/// makes; each takes memory of its own.
pub const CODINGS: usize = 2;

/// Bytes that may come out of one coded byte, over the whole body so far. Records of people compress
/// to a tenth, repeated ones to a hundredth; deflate's most is 1032, the others know no bound.
pub const CODING_RATIO: u64 = 200;

/// Bytes that may come out before the ratio is looked at: what is held anyway by default.
pub const CODING_GRACE: u64 = 256 * 1024;

/// Binary logarithm of br's largest window: 4 MiB, the default of most encoders. RFC 7932 has
/// windows up to 16 MiB, which one body alone must not take.
pub const BROTLI_WINDOW: u32 = 22;

/// The same of zstd's: 8 MiB, which every sender of this content coding must keep (RFC 9659).
pub const ZSTD_WINDOW: u32 = 23;

/// Bytes that go from one coding of a stack to the next at once, and what an output grows by.
pub const CODING_STEP: usize = 16 * 1024;

/// What undoing one coding takes beside its window, and of the window while no more than a held
/// body has come out: tables, and buffers that the library fills no further than that.
pub const CODING_STATE: usize = 256 * 1024;

/// What doing one coding takes: deflate 300 KiB, br and zstd with the windows below up to 700.
pub const CODING_OUT_STATE: usize = 768 * 1024;

/// Windows and tables of all streamed coded bodies together: six with zstd's largest window, or
/// some eighty of gzip. Who finds no room waits, and is then told to come back.
pub const CODING_BUDGET: usize = 64 * 1024 * 1024;

/// Levels of compression on the way out: the fastest ones. The next level costs twice the time for
/// a few per cent, on a link that is usually local.
pub const GZIP_LEVEL: u32 = 1;
pub const ZSTD_LEVEL: i32 = 1;
pub const BROTLI_LEVEL: u32 = 1;

/// Binary logarithms of the windows on the way out: 256 KiB. Records repeat their neighbours.
pub const BROTLI_OUT_WINDOW: u32 = 18;
pub const ZSTD_OUT_WINDOW: u32 = 18;
