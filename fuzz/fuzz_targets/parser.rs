//! Any text is parsed or refused with findings that lie inside it; what parses prints to a text that parses.
#![no_main]

use lapwing_dsl::syntax::{FileId, parse, print};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parsed = parse(FileId(0), text);
    for finding in &parsed.diagnostics {
        let span = finding.primary.span;
        assert!(span.start <= span.end && span.end as usize <= text.len() + 1, "{finding:?}");
    }
    if let (Some(file), true) = (&parsed.file, parsed.diagnostics.is_empty()) {
        let printed = print(file, text);
        let again = parse(FileId(0), &printed);
        assert!(again.diagnostics.is_empty(), "{printed}\n{:?}", again.diagnostics);
        assert_eq!(again.file.map(|f| print(&f, &printed)), Some(printed));
    }
});
