//! Reads the paths that a source file names: `use` trees, `crate::…`, `super::…` and paths of
//! other crates. A tokenizer, no parser: it knows comments, strings, characters and life times,
//! inline modules, and leaves out what stands under `#[cfg(test)]`.

/// One path that a file names.
pub struct Used {
    /// Without its `crate::`: `gateway::serve`; or the whole path into another crate.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    /// Into this crate.
    pub inside: bool,
}

/// Every path named in `text`, which is the module `module` (from the crate's root).
pub fn used_paths(text: &str, module: &[String]) -> Vec<Used> {
    let mut reader = Reader::new(text, module);
    reader.read();
    reader.used
}

/// Modules that `text` declares for tests alone (`#[cfg(test)] mod name;`).
pub fn test_modules(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut reader = Reader::new(text, module);
    reader.read();
    reader.test_modules
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
}

struct Reader {
    tokens: Vec<(Token, usize)>,
    at: usize,
    module: Vec<String>,
    used: Vec<Used>,
    test_modules: Vec<Vec<String>>,
}

impl Reader {
    fn new(text: &str, module: &[String]) -> Self {
        Self {
            tokens: tokens(text),
            at: 0,
            module: module.to_vec(),
            used: Vec::new(),
            test_modules: Vec::new(),
        }
    }

    fn read(&mut self) {
        // For each open brace, whether it opened an inline module.
        let mut braces = Vec::new();
        while let Some((token, line)) = self.tokens.get(self.at).cloned() {
            if self.looks_like(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                self.skip_test_item();
                continue;
            }
            match &token {
                Token::Word(word) if word == "mod" && self.sign(2, '{') => {
                    self.module.push(self.word(1));
                    braces.push(true);
                    self.at += 3;
                }
                Token::Word(word) if word == "use" => {
                    self.at += 1;
                    self.tree(&[]);
                }
                // `pub(in crate::room)` says who may see, not whom it sees.
                Token::Word(word) if word == "in" && self.at > 0 && self.behind('(') => {
                    while !self.sign(0, ')') && self.at < self.tokens.len() {
                        self.at += 1;
                    }
                }
                Token::Word(_) if !self.after_dollar() => self.expression(line),
                Token::Sign('{') => {
                    braces.push(false);
                    self.at += 1;
                }
                Token::Sign('}') => {
                    if braces.pop() == Some(true) {
                        self.module.pop();
                    }
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// A path in an expression or a type.
    fn expression(&mut self, line: usize) {
        let mut path = vec![self.word(0)];
        self.at += 1;
        while self.is(0, &Token::Path) && matches!(self.token(1), Some(Token::Word(_))) {
            path.push(self.word(1));
            self.at += 2;
        }
        if path.len() > 1 {
            self.note(&path, line);
        }
    }

    /// One branch of a `use` tree, up to its `,`, `}` or `;`.
    fn tree(&mut self, before: &[String]) {
        let mut path = before.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |(_, line)| *line);
        loop {
            match self.token(0).cloned() {
                Some(Token::Word(word)) if word == "as" => self.at += 2,
                Some(Token::Word(word)) => {
                    path.push(word);
                    self.at += 1;
                }
                Some(Token::Path) => self.at += 1,
                Some(Token::Sign('*')) => {
                    path.push("*".to_owned());
                    self.at += 1;
                }
                Some(Token::Sign('{')) => {
                    self.at += 1;
                    while !self.sign(0, '}') && self.at < self.tokens.len() {
                        self.tree(&path);
                        if self.sign(0, ',') {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                _ => {
                    self.note(&path, line);
                    return;
                }
            }
        }
    }

    /// Resolves `crate`, `self` and `super` and keeps the path.
    fn note(&mut self, path: &[String], line: usize) {
        let mut base: Option<Vec<String>> = None;
        let mut rest = Vec::new();
        for (at, word) in path.iter().enumerate() {
            match word.as_str() {
                "crate" if at == 0 => base = Some(Vec::new()),
                "self" if at == 0 => base = Some(self.module.clone()),
                "self" => {}
                "super" => {
                    let mut up = base.take().unwrap_or_else(|| self.module.clone());
                    up.pop();
                    base = Some(up);
                }
                word => rest.push(word.to_owned()),
            }
        }
        let inside = base.is_some();
        let mut path = base.unwrap_or_default();
        path.extend(rest);
        self.used.push(Used {
            path: path.join("::"),
            line,
            inside,
        });
    }

    /// Steps over `#[cfg(test)]` and the item under it.
    fn skip_test_item(&mut self) {
        self.at += 7;
        while self.sign(0, '#') {
            while !self.sign(0, ']') && self.at < self.tokens.len() {
                self.at += 1;
            }
            self.at += 1;
        }
        let start = self.at;
        let mut depth = 0usize;
        while let Some(token) = self.token(0).cloned() {
            let open = matches!(token, Token::Sign('{' | '(' | '['));
            let close = matches!(token, Token::Sign('}' | ')' | ']'));
            if close && depth == 0 {
                break; // the end of what surrounds a member or a statement
            }
            depth = depth + usize::from(open) - usize::from(close);
            self.at += 1;
            let ends = matches!(token, Token::Sign('}' | ';' | ','));
            if depth == 0 && ends {
                break;
            }
        }
        let module = (start..self.at).find(|&at| self.tokens[at].0 == Token::Word("mod".into()));
        if let Some(at) = module
            && let Some((Token::Word(name), _)) = self.tokens.get(at + 1)
        {
            let mut path = self.module.clone();
            path.push(name.clone());
            self.test_modules.push(path);
        }
    }

    fn looks_like(&self, what: &[&str]) -> bool {
        what.iter()
            .enumerate()
            .all(|(ahead, want)| match self.token(ahead) {
                Some(Token::Word(word)) => word == want,
                Some(Token::Sign(sign)) => want.len() == 1 && want.starts_with(*sign),
                _ => false,
            })
    }

    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(token, _)| token)
    }

    fn is(&self, ahead: usize, token: &Token) -> bool {
        self.token(ahead) == Some(token)
    }

    fn sign(&self, ahead: usize, sign: char) -> bool {
        self.is(ahead, &Token::Sign(sign))
    }

    fn behind(&self, sign: char) -> bool {
        self.tokens[self.at - 1].0 == Token::Sign(sign)
    }

    /// `$crate` and `$name` stand in macros, and mean whoever calls them.
    fn after_dollar(&mut self) -> bool {
        let after = self.at > 0 && self.behind('$');
        if after {
            self.at += 1;
        }
        after
    }

    fn word(&self, ahead: usize) -> String {
        match self.token(ahead) {
            Some(Token::Word(word)) => word.clone(),
            _ => String::new(),
        }
    }
}

fn tokens(text: &str) -> Vec<(Token, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        match get(at) {
            '/' if get(at + 1) == '/' => {
                while at < chars.len() && get(at) != '\n' {
                    at += 1;
                }
            }
            '/' if get(at + 1) == '*' => at = end_of_comment(&chars, at),
            '"' => at = end_of_string(&chars, at),
            '\'' => at = end_of_quote(&chars, at),
            c if c.is_alphabetic() || c == '_' => {
                while get(at).is_alphanumeric() || get(at) == '_' {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                if raw && (get(at) == '"' || get(at) == '#' && matches!(get(at + 1), '#' | '"')) {
                    at = end_of_raw_string(&chars, at);
                } else if !(raw && get(at) == '#') {
                    found.push((Token::Word(word), line));
                }
            }
            ':' if get(at + 1) == ':' => {
                found.push((Token::Path, line));
                at += 2;
            }
            c => {
                if !c.is_whitespace() {
                    found.push((Token::Sign(c), line));
                }
                at += 1;
            }
        }
        line += chars[start..at.min(chars.len())]
            .iter()
            .filter(|&&c| c == '\n')
            .count();
    }
    found
}

fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn end_of_raw_string(chars: &[char], mut at: usize) -> usize {
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    at += hashes + 1;
    while at < chars.len() {
        let closed = chars[at] == '"'
            && chars[at + 1..]
                .iter()
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes;
        at += 1;
        if closed {
            return at + hashes;
        }
    }
    at
}

/// A character (`'x'`, `'\n'`, `'\u{1F}'`) or a life time (`'a`).
fn end_of_quote(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let mut end = at + 3;
        while end < chars.len() && chars[end] != '\'' {
            end += 1;
        }
        return end + 1;
    }
    if chars.get(at + 2) == Some(&'\'') {
        return at + 3;
    }
    at + 1
}
