//! The vault: the process that alone can turn a pseudonym back into a person.
//!
//! What enters: requests over mutual TLS 1.3 from registered people and services. What leaves:
//! leased keys, acknowledgements of records that are on the disk, reveals sealed to the one who
//! asked. What can never happen: an identifier leaves without a second person's signature and an
//! entry in the log, both durable before the record is opened; an acknowledgement precedes the
//! sync; an identifier or a key stands in clear in the store.
//!
//! | file | duty |
//! |---|---|
//! | [`seal`] | sealed or open: the root key in a file or in shares |
//! | [`state`] | opens the store with the root key, and makes what a first start needs |
//! | [`serve`] | sockets, TLS, timers, who may call what |
//! | [`leases`] | domain keys for gateways, for a while |
//! | [`records`] | recovery records: opened, derived again, sealed, kept |
//! | [`known`] | the stream of pseudonyms that have a record |
//! | [`reveal`] | asking, deciding, and the gate through which every answer goes |
//! | [`log`] | the Merkle log |
//! | [`keys`], [`keyring`] | wrapped and derived keys; the unlocked epochs |
//! | [`sequencer`] | the one place that changes the store |
//! | [`store`] | sealed rows behind a trait; SQLite |
//! | [`backup`] | copies of the store, sealed to a key that is elsewhere |

pub mod backup;
pub mod keyring;
pub mod keys;
pub mod known;
pub mod leases;
pub mod log;
pub mod metrics;
pub mod records;
pub mod refusal;
pub mod reveal;
pub mod seal;
pub mod sequencer;
pub mod serve;
pub mod state;
pub mod store;

pub use refusal::Refusal;
pub use serve::{Running, start};
pub use state::{StartError, Vault, make_store_folder};
