//! The demonstration's walk, step by step. Every claim it prints is computed and compared.
//!
//! What enters: a running installation, a number of records, a seed. What leaves: text, and
//! whether every check held. What can never happen: a check that did not run counts as held.

use serde_json::{Map, Value};

use super::installation::Installation;
use super::people;
use super::screen::Screen;
use super::store::{ORDERS_WITH_RESULTS, Rows, Store, TESTS_BY_ETHNICITY, Table};
use crate::local::client::{Answer, Client};
use crate::local::generate::{ANALYTES, Generator};
use crate::local::processes::Failure;
use crate::local::site::HOST;

/// Rows in one body: held whole by the gateway, so that it arrives whole or not at all.
const BATCH: usize = 200;

/// Runs all steps. `Ok(false)`: something did not hold, and the screen says what.
///
/// # Errors
/// A step could not be carried out.
pub async fn run(
    screen: &mut Screen,
    installation: &Installation,
    records: u64,
    seed: u64,
) -> Result<bool, Failure> {
    let mut client = installation.client()?;
    let sent = Sent::generate(Generator::new(seed), records)?;
    let mut show = Show {
        screen,
        installation,
        sent: &sent,
        held: true,
    };
    show.send_everything(&mut client).await?;
    show.side_by_side()?;
    show.groups_and_joins()?;
    show.provider_round_trip(&mut client).await?;
    show.refusal(&mut client).await?;
    show.reveal()?;
    Ok(show.held)
}

/// The originals: as text, and in a database of their own for comparison.
struct Sent {
    results: Vec<String>,
    orders: Vec<String>,
    lines: Vec<String>,
    originals: Store,
    /// An order that is not among those above.
    new_order: String,
}

impl Sent {
    fn generate(generator: Generator, records: u64) -> Result<Self, Failure> {
        let orders = records / 4 + 1;
        let results = texts(records, |index| generator.result_record(index))?;
        let lines = texts(records * ANALYTES as u64, |index| {
            generator.lab_result(index)
        })?;
        let mut all = texts(orders + 1, |index| generator.provider_order(index))?;
        let new_order = all.pop().unwrap_or_default();
        let mut originals = Store::in_memory().map_err(database)?;
        for (table, bodies) in [
            (Table::Results, &results),
            (Table::Orders, &all),
            (Table::Laboratory, &lines),
        ] {
            originals
                .insert(table, bodies.iter().map(String::as_str))
                .map_err(database)?;
        }
        Ok(Self {
            results,
            orders: all,
            lines,
            originals,
            new_order,
        })
    }
}

struct Show<'a> {
    screen: &'a mut Screen,
    installation: &'a Installation,
    sent: &'a Sent,
    held: bool,
}

impl Show<'_> {
    async fn send_everything(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.screen
            .heading("Records go in through TLS, pseudonyms reach a database");
        let began = std::time::Instant::now();
        for batch in self.sent.results.chunks(BATCH) {
            let body = batch.join("\n");
            let path = "/v1/results";
            accepted(client.send("POST", path, NDJSON, body).await?)?;
        }
        for batch in self.sent.orders.chunks(BATCH) {
            let body = format!("[{}]", batch.join(","));
            accepted(client.send("POST", "/v1/orders", JSON, body).await?)?;
        }
        for batch in self.sent.lines.chunks(BATCH) {
            let body = batch.join("\n");
            accepted(client.send("POST", "/v1/laboratory", NDJSON, body).await?)?;
        }
        let took = began.elapsed().as_secs_f64();
        let rows: Vec<Vec<String>> = [
            (Table::Results, "home blood tests", self.sent.results.len()),
            (Table::Orders, "orders of providers", self.sent.orders.len()),
            (
                Table::Laboratory,
                "lines of the laboratory",
                self.sent.lines.len(),
            ),
        ]
        .into_iter()
        .map(|(table, what, sent)| {
            let stored = self.installation.backend.store().count(table)?;
            Ok(vec![what.to_owned(), sent.to_string(), stored.to_string()])
        })
        .collect::<Result<_, rusqlite::Error>>()
        .map_err(database)?;
        self.screen
            .table(&["generated", "sent", "rows in the backend"], &rows);
        let all = rows.iter().all(|row| row[1] == row[2]);
        self.check(
            all,
            &format!(
                "everything arrived, in {took:.1} s, each new identifier durable in the vault first"
            ),
        );
        Ok(())
    }

    fn side_by_side(&mut self) -> Result<(), Failure> {
        self.screen
            .heading("One record: what was sent, and what the backend holds");
        let sent = object(&self.sent.results[0])?;
        let stored = self.installation.backend.store().first(Table::Results);
        let text = stored.map_err(database)?;
        let stored = object(&text)?;
        let mut members: Vec<&String> = sent.keys().collect();
        members.sort_by_key(|name| self.sent.results[0].find(&format!("\"{name}\":")));
        let rows: Vec<Vec<String>> = members
            .into_iter()
            .map(|name| {
                let there = stored.get(name);
                let there = there.map_or("(not there)".to_owned(), |value| brief(name, value));
                vec![name.clone(), brief(name, &sent[name]), there]
            })
            .collect();
        self.screen.table(&["member", "sent", "stored"], &rows);
        let pseudonyms = ["subscriber_id", "email", "nhs_number", "kit_id"];
        let differ = pseudonyms
            .iter()
            .all(|name| stored.get(*name).is_some() && stored.get(*name) != sent.get(*name));
        self.check(differ, "identifiers have become pseudonyms");
        let measured = self.sent.results[0].find("\"results\":");
        let kept = measured.is_some_and(|at| text.ends_with(&self.sent.results[0][at..]));
        self.check(kept, "the measurements are the bytes that were sent");
        Ok(())
    }

    fn groups_and_joins(&mut self) -> Result<(), Failure> {
        self.screen
            .heading("A group-by and a join still work on pseudonyms");
        let store = self.installation.backend.store();
        let (there, here) = (
            store.run(&TESTS_BY_ETHNICITY).map_err(database)?,
            self.sent
                .originals
                .run(&TESTS_BY_ETHNICITY)
                .map_err(database)?,
        );
        let joined = store.run(&ORDERS_WITH_RESULTS).map_err(database)?;
        let original = self
            .sent
            .originals
            .run(&ORDERS_WITH_RESULTS)
            .map_err(database)?;
        drop(store);

        self.screen.dim(TESTS_BY_ETHNICITY.says);
        self.screen
            .table(&["ethnicity", "tests", "people"], &there.rows);
        let numbers = |rows: &Rows| -> Vec<Vec<String>> {
            rows.rows.iter().map(|row| row[1..].to_vec()).collect()
        };
        let same = !there.rows.is_empty() && numbers(&there) == numbers(&here);
        self.check(
            same,
            "the same numbers as on the originals (the rule accepts that whoever knows how \
             common each group is can tell which is which)",
        );

        self.screen.say("");
        self.screen.dim(ORDERS_WITH_RESULTS.says);
        let heads: Vec<&str> = joined.columns.iter().map(String::as_str).collect();
        self.screen.table(&heads, &joined.rows);
        self.check(
            !joined.rows.is_empty() && joined == original,
            "the same rows as the same query on the originals",
        );
        Ok(())
    }

    async fn provider_round_trip(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.screen
            .heading("A provider works under the identifiers that it holds itself");
        let order = &self.sent.new_order;
        let answer = client
            .send("POST", "/v1/orders", JSON, order.clone())
            .await?;
        let answer = object(&accepted(answer)?.text())?;
        let back = answer.get("order").and_then(Value::as_object);
        let back = back.ok_or_else(|| Failure("the answer holds no order".to_owned()))?;
        let sent = object(order)?;
        let stored = self.installation.backend.store().last(Table::Orders);
        let stored = object(&stored.map_err(database)?)?;
        let members = ["subscriber_id", "name", "email", "provider_id"];
        let of = |object: &Map<String, Value>, name: &str| {
            object
                .get(name)
                .map_or(String::new(), |value| brief(name, value))
        };
        let rows: Vec<Vec<String>> = members
            .iter()
            .map(|name| {
                vec![
                    (*name).to_owned(),
                    of(&sent, name),
                    of(&stored, name),
                    of(back, name),
                ]
            })
            .collect();
        self.screen
            .table(&["member", "sent", "stored", "answered"], &rows);
        let holds = members
            .iter()
            .all(|name| sent.get(*name) == back.get(*name) && sent.get(*name) != stored.get(*name));
        self.check(
            holds,
            "the backend answered with pseudonyms; what this request had sent came back as sent, \
             without asking the vault",
        );
        Ok(())
    }

    async fn refusal(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.screen
            .heading("What no rule names is refused, and nothing of it is forwarded");
        let before = self.installation.backend.store().count(Table::Results);
        let mut record = object(&self.sent.results[0])?;
        record.insert("religion".to_owned(), Value::from("none of your business"));
        self.screen
            .say("A member \"religion\", which is not collected and which no rule lists:");
        let body = Value::from(record).to_string();
        let answer = client.send("POST", "/v1/results", JSON, body).await?;
        let pretty: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| Failure("the refusal is no problem document".to_owned()))?;
        self.screen.quote(&format!("HTTP status {}", answer.status));
        self.screen.quote(&format!("{pretty:#}"));
        let after = self.installation.backend.store().count(Table::Results);
        self.check(
            answer.status == 422 && before.map_err(database)? == after.map_err(database)?,
            "422, and the backend has no row more than before",
        );
        Ok(())
    }

    fn reveal(&mut self) -> Result<(), Failure> {
        self.screen
            .heading("One pseudonym becomes a person again: two people, one purpose");
        let stored = self.installation.backend.store().first(Table::Results);
        let stored = object(&stored.map_err(database)?)?;
        let pseudonym = stored
            .get("subscriber_id")
            .and_then(Value::as_str)
            .ok_or_else(|| Failure("the backend holds no pseudonym".to_owned()))?;
        let steps = people::reveal(self.installation, pseudonym)?;
        for step in &steps.said {
            self.screen.dim(&format!("$ {}", step.command));
            self.screen.quote(&step.output);
        }
        let original = object(&self.sent.results[0])?;
        let original = original.get("subscriber_id").and_then(Value::as_str);
        self.check(
            original.is_some() && steps.identifier.as_deref() == original,
            "what the investigator could open is the identifier that was sent",
        );
        self.check(
            steps.alone_refused,
            "approving it alone was refused, even with the approver's signing key at hand",
        );

        self.screen
            .heading("The vault's log tells it to an auditor, and proves itself");
        let log = people::log(self.installation, &steps.request)?;
        for step in &log.said {
            self.screen.dim(&format!("$ {}", step.command));
            self.screen.quote(&step.output);
        }
        self.check(log.names_the_reveal, "the reveal stands in the log");
        self.check(log.verified, "the log's tree and signatures hold");
        Ok(())
    }

    fn check(&mut self, holds: bool, text: &str) {
        self.held &= holds;
        self.screen.verdict(holds, text);
    }
}

/// What to try by hand while it runs.
///
/// # Errors
/// The example record cannot be written.
pub fn commands(
    screen: &mut Screen,
    installation: &Installation,
    seed: u64,
) -> Result<(), Failure> {
    let record = texts(1, |_| Generator::new(seed).result_record(1_000_000))?;
    let folder = installation.folder();
    std::fs::write(folder.join("record.json"), &record[0])?;
    screen.heading("Try it");
    let gateway = installation.addresses.gateway.port();
    let backend = installation.backend.address;
    let observe = installation.addresses.gateway_observe;
    for line in [
        &format!("cd {}", folder.display()),
        "curl --cacert certs/out/gateway-ca.pem --cert certs/out/people/provider-1.pem \\",
        &format!("  --key certs/out/people/provider-1.key --resolve {HOST}:{gateway}:127.0.0.1 \\"),
        &format!("  --json @record.json https://{HOST}:{gateway}/v1/results"),
        &format!("curl http://{backend}/v1/queries/latest-results"),
        &format!("curl http://{backend}/v1/queries/tests-by-ethnicity"),
        &format!("curl http://{observe}/metrics"),
        "less config.toml vault.log gateway.log",
    ] {
        screen.command(line);
    }
    Ok(())
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

fn texts<T: serde::Serialize>(count: u64, make: impl Fn(u64) -> T) -> Result<Vec<String>, Failure> {
    (0..count)
        .map(|index| serde_json::to_string(&make(index)))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure(format!("a record cannot be written: {error}")))
}

fn object(text: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(text).map_err(|_| Failure("that is no JSON object".to_owned()))
}

/// A member's value in one cell; the measurements by their number.
fn brief(name: &str, value: &Value) -> String {
    match value {
        Value::Array(items) if name == "results" => format!("{} measurements", items.len()),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn accepted(answer: Answer) -> Result<Answer, Failure> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let (status, text) = (answer.status, answer.text());
    Err(Failure(format!(
        "a good request was refused: {status} {text}"
    )))
}

fn database(error: rusqlite::Error) -> Failure {
    Failure(format!("the analytics database failed: {error}"))
}
