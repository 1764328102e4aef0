//! Bounds of backups.

/// Bytes of a backup that are sealed together: memory stays small, and overheads do as well.
pub const BACKUP_CHUNK: usize = 1024 * 1024;

/// Bytes of a backup's head, which is read before anything is known of the file.
pub const BACKUP_HEAD: usize = 4096;
