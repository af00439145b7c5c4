//! A scanner for Rust sources: code, comments and literals apart.
//!
//! Decides just enough of the grammar that a rule about code is not met by a comment, and the other
//! way round. It knows no rules.

use std::ops::Range;

/// A source taken apart: `code` and `comments` have the line structure of the source, with
/// everything else blanked out; `literals` are the texts of the string literals.
#[derive(Default)]
pub(super) struct Views {
    pub(super) code: String,
    pub(super) comments: String,
    pub(super) literals: Vec<String>,
}

impl Views {
    pub(super) fn of(text: &str) -> Views {
        let mut scanner = Scanner { rest: text, views: Views::default() };
        while scanner.step() {}
        scanner.views
    }
}

struct Scanner<'a> {
    rest: &'a str,
    views: Views,
}

impl Scanner<'_> {
    /// Takes one token's worth off the source.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.comment(end);
        } else if self.rest.starts_with("/*") {
            self.comment(block_comment_len(self.rest));
        } else if let Some((content, len)) = literal(self.rest, self.follows_word()) {
            self.literal(content, len);
        } else {
            self.code(first.len_utf8());
        }
        true
    }

    fn follows_word(&self) -> bool {
        self.views.code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    }

    fn code(&mut self, len: usize) {
        let (taken, rest) = self.rest.split_at(len);
        self.views.code.push_str(taken);
        self.views.comments.push(if taken == "\n" { '\n' } else { ' ' });
        self.rest = rest;
    }

    fn comment(&mut self, len: usize) {
        let (taken, rest) = self.rest.split_at(len);
        self.views.comments.push_str(taken);
        self.views.code.push_str(&blank(taken));
        self.rest = rest;
    }

    fn literal(&mut self, content: Range<usize>, len: usize) {
        let (taken, rest) = self.rest.split_at(len);
        self.views.literals.push(taken[content].to_owned());
        self.views.code.push_str(&blank(taken));
        self.views.comments.push_str(&blank(taken));
        self.rest = rest;
    }
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            let Some(c) = rest.chars().next() else { return text.len() };
            at += c.len_utf8();
        }
    }
}

/// If the text begins with a string or character literal: its content and its whole length.
fn literal(text: &str, follows_word: bool) -> Option<(Range<usize>, usize)> {
    let prefix = if follows_word { 0 } else { text.find(|c| !matches!(c, 'b' | 'c' | 'r'))? };
    let raw = text[..prefix].contains('r');
    let hashes = if raw { text[prefix..].chars().take_while(|c| *c == '#').count() } else { 0 };
    let open = prefix + hashes + 1;
    let close = match text[prefix + hashes..].chars().next()? {
        '"' if raw => {
            let close = format!("\"{}", "#".repeat(hashes));
            text[open..].find(&close).map(|at| open + at)
        }
        '"' => closing_quote(text, open, '"'),
        // A lifetime has no closing quote after its first character.
        '\'' if !raw => {
            let mut inside = text[open..].chars();
            let first = inside.next()?;
            if first != '\\' && inside.next() != Some('\'') {
                return None;
            }
            closing_quote(text, open, '\'')
        }
        _ => return None,
    };
    let close = close?;
    Some((open..close, close + 1 + hashes))
}

fn closing_quote(text: &str, open: usize, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text[open..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(open + at),
            _ => {}
        }
    }
    None
}

/// Each `fn` with a body: its name, the line it begins on, and how many lines it has.
pub(super) fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if let Some(len) = body_len(&code[at..]).filter(|_| !name.is_empty()) {
            let first = code[..at].matches('\n').count() + 1;
            found.push((name, first, code[at..at + len].matches('\n').count() + 1));
        }
    }
    found
}

/// How far it is from a `fn` to the brace that closes its body; none if it has no body.
fn body_len(code: &str) -> Option<usize> {
    let mut nesting = 0;
    let mut braces = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' if braces == 0 => nesting += 1,
            ')' | ']' if braces == 0 => nesting -= 1,
            ';' if braces == 0 && nesting == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The identifier at the start of a text.
pub(super) fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[test]
fn the_scanner_tells_code_from_the_rest() {
    let source = "fn a<'x>(c: char) { // fn b() {\n  \"fn c() {\"; r#\"\"fn d\"#; '{'; '\\''; \
        b'\"' \
        /* fn e /* { */ */ }\nfn f();\nfn g() {\n}\n";
    let views = Views::of(source);
    let found = functions(&views.code);
    assert_eq!(found, [("a".to_owned(), 1, 2), ("g".to_owned(), 4, 2)], "{}", views.code);
    assert_eq!(views.literals, ["fn c() {", "\"fn d", "{", "\\'", "\""]);
    assert!(views.comments.contains("fn b() {") && views.comments.contains("fn e"));
    assert_eq!(views.code.lines().count(), source.lines().count());
}
