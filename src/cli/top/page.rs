//! A metrics page, read (Prometheus text format 0.0.4 and OpenMetrics 1.0.0, what both have).
//!
//! What enters: text. What leaves: series with their labels. What can never happen: a line that
//! is not understood stops the others.

/// All series of one page.
#[derive(Default)]
pub struct Page(Vec<Series>);

struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Page {
    pub fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(series).collect())
    }

    /// The sum of all series of this name that have these labels; `None` if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let all = self.all(name, labels).map(|series| series.value);
        all.reduce(|a, b| a + b)
    }

    /// The distinct values of a label, in the order of the page.
    pub fn values(&self, name: &str, label: &str) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for series in self.all(name, &[]) {
            let value = series.labels.iter().find(|(l, _)| l == label);
            if let Some((_, value)) = value.filter(|(_, v)| !values.contains(v)) {
                values.push(value.clone());
            }
        }
        values
    }

    /// A histogram's buckets: upper bounds in rising order with cumulated counts.
    pub fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for series in self.all(&format!("{name}_bucket"), labels) {
            let bound = series.labels.iter().find(|(label, _)| label == "le");
            let Some(bound) = bound.and_then(|(_, value)| number(value)) else {
                continue;
            };
            match buckets.iter_mut().find(|(b, _)| *b == bound) {
                Some((_, count)) => *count += series.value,
                None => buckets.push((bound, series.value)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    fn all<'a>(&'a self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &'a Series> {
        let has = |series: &Series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(l, v)| series.labels.iter().any(|(of, is)| of == l && is == v))
        };
        let found: Vec<&Series> = self.0.iter().filter(|series| has(series)).collect();
        found.into_iter()
    }
}

fn series(line: &str) -> Option<Series> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // A time stamp or an exemplar may follow.
    let value = number(rest.split_whitespace().next()?)?;
    Some(Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// `a="b",c="d"} rest`
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut all = Vec::new();
    loop {
        text = text.trim_start_matches(',');
        if let Some(rest) = text.strip_prefix('}') {
            return Some((all, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        all.push((name.to_owned(), value));
        text = &rest[end + 1..];
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_12_pages_are_read() {
        let page = Page::read(
            "# HELP a A\n# TYPE a counter\na_total{route=\"x\",class=\"2xx\"} 3\n\
             a_total{route=\"y\",class=\"2xx\"} 4 # {id=\"1\"} 1.0\nnonsense\na_total{broken 3\n\
             b 1.5\nc{d=\"e\\\"f}\\\\\"} 2\nh_bucket{le=\"+Inf\",route=\"x\"} 9\n\
             h_bucket{le=\"0.5\",route=\"x\"} 7\n# EOF\n",
        );
        assert_eq!(page.sum("a_total", &[]), Some(7.0));
        assert_eq!(page.sum("a_total", &[("route", "y")]), Some(4.0));
        assert_eq!(page.sum("a_total", &[("route", "z")]), None);
        assert_eq!(page.sum("b", &[]), Some(1.5));
        assert_eq!(page.sum("c", &[("d", "e\"f}\\")]), Some(2.0));
        assert_eq!(page.values("a_total", "route"), ["x", "y"]);
        let buckets = page.buckets("h", &[("route", "x")]);
        assert_eq!(buckets, [(0.5, 7.0), (f64::INFINITY, 9.0)]);
    }
}
