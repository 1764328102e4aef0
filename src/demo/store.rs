//! The demonstration's database: SQLite in one file, one JSON body a row.
//!
//! What enters: JSON objects, as the gateway forwards them. What leaves: rows of named queries.
//! What can never happen: SQL from outside runs; only the queries listed here do.

use std::path::Path;

use rusqlite::{Connection, types::ValueRef};

/// Which table a body belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Results,
    Orders,
    Laboratory,
}

impl Table {
    pub const ALL: [Table; 3] = [Table::Results, Table::Orders, Table::Laboratory];

    /// Also the last part of the backend's path.
    pub fn name(self) -> &'static str {
        match self {
            Table::Results => "results",
            Table::Orders => "orders",
            Table::Laboratory => "laboratory",
        }
    }

    /// The body as it came, and its members that queries name as columns of their own.
    fn schema(self) -> String {
        let table = self.name();
        let members: &[&str] = match self {
            Table::Results => &[
                "subscriber_id",
                "kit_id",
                "email",
                "date_of_birth",
                "postcode",
                "ethnicity",
            ],
            Table::Orders => &["subscriber_id", "test"],
            Table::Laboratory => &["kit_id", "analyte", "value"],
        };
        let columns: String = members
            .iter()
            .map(|name| format!(", {name} ANY GENERATED ALWAYS AS (body ->> '{name}') STORED"))
            .collect();
        let key = members[0];
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY,
                 body TEXT NOT NULL CHECK (json_valid(body)) {columns});
             CREATE INDEX IF NOT EXISTS {table}_by_{key} ON {table} ({key});"
        )
    }
}

/// The answer of a query: names of columns, and rows of texts.
#[derive(Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// A question that researchers ask, and the SQL behind it.
pub struct Query {
    pub name: &'static str,
    pub says: &'static str,
    sql: &'static str,
}

/// Everything that can be asked over HTTP. The first two answer the same on originals and on
/// pseudonyms, because equal values stay equal and different ones different.
pub const QUERIES: &[Query] = &[
    TESTS_BY_ETHNICITY,
    ORDERS_WITH_RESULTS,
    Query {
        name: "latest-results",
        says: "the last five rows of results, as the backend holds them",
        sql: "SELECT subscriber_id, email, date_of_birth, postcode FROM results ORDER BY id DESC LIMIT 5",
    },
];

/// A group-by over a kept value and a count of distinct people in each group.
pub const TESTS_BY_ETHNICITY: Query = Query {
    name: "tests-by-ethnicity",
    says: "tests and distinct people in each ethnic group",
    sql: "SELECT ethnicity, count(*) AS tests, count(DISTINCT subscriber_id) AS people
          FROM results GROUP BY ethnicity ORDER BY tests DESC, people DESC, ethnicity",
};

/// A join of three tables over two kinds of identifier: orders and results by the subscriber,
/// laboratory lines by the kit.
pub const ORDERS_WITH_RESULTS: Query = Query {
    name: "orders-with-results",
    says: "orders joined with results (by subscriber) and laboratory lines (by kit)",
    sql: "SELECT o.test AS ordered, count(DISTINCT o.subscriber_id) AS people,
                 count(*) AS joined_lines, printf('%.2f', avg(l.value)) AS mean_wbc
          FROM orders o
          JOIN results r ON r.subscriber_id = o.subscriber_id
          JOIN laboratory l ON l.kit_id = r.kit_id AND l.analyte = 'WBC'
          GROUP BY o.test ORDER BY o.test",
};

/// One open database.
pub struct Store(Connection);

impl Store {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn open(file: &Path) -> rusqlite::Result<Self> {
        Self::prepare(Connection::open(file)?)
    }

    /// A database that lives in memory: for the originals that the pseudonyms are compared with.
    pub fn in_memory() -> rusqlite::Result<Self> {
        Self::prepare(Connection::open_in_memory()?)
    }

    /// Adds one row a body, all or none.
    ///
    /// # Errors
    /// Those of SQLite, among them that a body is not JSON.
    pub fn insert<'a>(
        &mut self,
        table: Table,
        bodies: impl Iterator<Item = &'a str>,
    ) -> rusqlite::Result<usize> {
        let transaction = self.0.transaction()?;
        let mut rows = 0;
        {
            let sql = format!("INSERT INTO {} (body) VALUES (?1)", table.name());
            let mut insert = transaction.prepare(&sql)?;
            for body in bodies {
                rows += insert.execute([body])?;
            }
        }
        transaction.commit()?;
        Ok(rows)
    }

    pub fn count(&self, table: Table) -> rusqlite::Result<i64> {
        let sql = format!("SELECT count(*) FROM {}", table.name());
        self.0.query_row(&sql, [], |row| row.get(0))
    }

    /// The first row's body, as it was stored.
    pub fn first(&self, table: Table) -> rusqlite::Result<String> {
        let sql = format!("SELECT body FROM {} ORDER BY id LIMIT 1", table.name());
        self.0.query_row(&sql, [], |row| row.get(0))
    }

    /// The body that was stored last.
    pub fn last(&self, table: Table) -> rusqlite::Result<String> {
        let sql = format!("SELECT body FROM {} ORDER BY id DESC LIMIT 1", table.name());
        self.0.query_row(&sql, [], |row| row.get(0))
    }

    pub fn run(&self, query: &Query) -> rusqlite::Result<Rows> {
        let mut statement = self.0.prepare(query.sql)?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement
            .query_map([], |row| {
                (0..columns.len())
                    .map(|at| Ok(text(row.get_ref(at)?)))
                    .collect()
            })?
            .collect::<rusqlite::Result<Vec<Vec<String>>>>()?;
        Ok(Rows { columns, rows })
    }

    fn prepare(connection: Connection) -> rusqlite::Result<Self> {
        for table in Table::ALL {
            connection.execute_batch(&table.schema())?;
        }
        Ok(Self(connection))
    }
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Blob(bytes) => format!("({} bytes)", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::generate::{ANALYTES, Generator};

    /// What pseudonymising does to a join: every identifier becomes another one, one to one.
    fn disguised(text: String) -> String {
        text.replace("SUB-", "sub_x").replace("KIT-", "kit_y")
    }

    fn fill(change: impl Fn(String) -> String) -> Store {
        let generator = Generator::new(11);
        let mut store = Store::in_memory().unwrap();
        let results: Vec<_> = (0..300)
            .map(|i| change(serde_json::to_string(&generator.result_record(i)).unwrap()))
            .collect();
        let orders: Vec<_> = (0..80)
            .map(|i| change(serde_json::to_string(&generator.provider_order(i)).unwrap()))
            .collect();
        let lines: Vec<_> = (0..300 * ANALYTES as u64)
            .map(|i| change(serde_json::to_string(&generator.lab_result(i)).unwrap()))
            .collect();
        for (table, bodies) in [
            (Table::Results, results),
            (Table::Orders, orders),
            (Table::Laboratory, lines),
        ] {
            let rows = store
                .insert(table, bodies.iter().map(String::as_str))
                .unwrap();
            assert_eq!(rows, bodies.len());
        }
        store
    }

    #[test]
    fn joins_and_groups_answer_and_do_not_depend_on_the_spelling_of_identifiers() {
        let (clear, other) = (fill(|text| text), fill(disguised));
        for query in [&TESTS_BY_ETHNICITY, &ORDERS_WITH_RESULTS] {
            let rows = clear.run(query).unwrap();
            assert!(rows.rows.len() >= 3, "{}", query.name);
            assert!(rows == other.run(query).unwrap(), "{}", query.name);
        }
    }

    #[test]
    fn a_body_that_is_not_json_leaves_no_row() {
        let mut store = Store::in_memory().unwrap();
        let bodies = [r#"{"a":1}"#, "{"];
        assert!(store.insert(Table::Orders, bodies.into_iter()).is_err());
        assert_eq!(store.count(Table::Orders).unwrap(), 0);
    }
}
