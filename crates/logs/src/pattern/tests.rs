use super::Pattern;

/// Pattern, events that match, events that do not. From the examples of AWS's page on the syntax.
const EXAMPLES: &[(&str, &[&str], &[&str])] = &[
    ("", &["", "anything"], &[]),
    ("ERROR", &["[ERROR 400] BAD REQUEST"], &["error", "WARN"]),
    ("ERROR ARGUMENTS", &["[ERROR 419] MISSING ARGUMENTS"], &["[ERROR 400] BAD REQUEST"]),
    ("?ERROR ?ARGUMENTS", &["[ERROR 400] BAD REQUEST", "INVALID ARGUMENTS"], &["OK"]),
    ("ERROR ?ARGUMENTS", &["ERROR alone"], &["ARGUMENTS alone"]),
    ("\"INTERNAL SERVER ERROR\"", &["[ERROR 500] INTERNAL SERVER ERROR"], &["INTERNAL ERROR"]),
    ("ERROR -ARGUMENTS", &["[ERROR 400] BAD REQUEST"], &["[ERROR 419] MISSING ARGUMENTS"]),
    ("-\"a b\"", &["a", "b a"], &["x a b"]),
    ("%AUTHORIZED%", &["UNAUTHORIZED REQUEST"], &["REQUEST"]),
    ("%ERR.R [45]\\d\\d% -BAD", &["ERROR 500 x"], &["ERROR 200", "ERROR 400 BAD"]),
    (
        "{ $.eventType = \"UpdateTrail\" }",
        &[r#"{"eventType":"UpdateTrail"}"#],
        &[r#"{"eventType":"x"}"#, "{}", "UpdateTrail"],
    ),
    (
        "{$.sourceIPAddress != 123.123.*}",
        &[r#"{"sourceIPAddress":"1.2.3.4"}"#],
        &[r#"{"sourceIPAddress":"123.123.9.9"}"#, "{}"],
    ),
    ("{ $.arrayKey[0] = \"value\" }", &[r#"{"arrayKey":["value","x"]}"#], &[r#"{"arrayKey":["x","value"]}"#]),
    ("{ $.list[*].id >= 3 }", &[r#"{"list":[{"id":1},{"id":3}]}"#], &[r#"{"list":[{"id":1}]}"#]),
    ("{ $.eventName = \"Update*\" }", &[r#"{"eventName":"UpdateTrail"}"#], &[r#"{"eventName":"trail"}"#]),
    ("{ $.bandwidth > 75 }", &[r#"{"bandwidth":75.5}"#], &[r#"{"bandwidth":75}"#, r#"{"bandwidth":"80"}"#]),
    ("{ $.latency = 1.2e1 }", &[r#"{"latency":12}"#], &[r#"{"latency":13}"#]),
    ("{ $.a IS NULL }", &[r#"{"a":null}"#], &[r#"{"a":1}"#, "{}"]),
    ("{ $.a IS TRUE }", &[r#"{"a":true}"#], &[r#"{"a":false}"#, r#"{"a":"true"}"#]),
    ("{ $.a IS FALSE }", &[r#"{"a":false}"#], &[r#"{"a":true}"#]),
    ("{ $.a NOT EXISTS }", &["{}"], &[r#"{"a":null}"#]),
    ("{ $.a = %^x[0-9]+$% }", &[r#"{"a":"x12"}"#], &[r#"{"a":"y"}"#]),
    ("{ $['odd.name'] = 1 }", &[r#"{"odd.name":1}"#], &[r#"{"odd":{"name":1}}"#]),
    (
        "{ ($.user.id = 1 && $.users[0].email = \"J*\") || $.actions[2] = Hi }",
        &[r#"{"user":{"id":1},"users":[{"email":"John"}]}"#, r#"{"actions":[1,2,"Hi"]}"#],
        &[r#"{"user":{"id":2},"users":[{"email":"John"}]}"#, r#"{"actions":["Hi"]}"#],
    ),
    (
        "[ip, user, username, timestamp, request, status_code = 4*, bytes > 1000]",
        &[r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#],
        &[
            r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 200 1534"#,
            r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 15"#,
            "404 1534",
        ],
    ),
    ("[..., status, bytes >= 10]", &["a b c 200 10", "200 11"], &["a b 200 9", "11"]),
    ("[ip, ..., x = end]", &["1 2 3 end", "1 end"], &["end", "1 2"]),
    (
        "[w1 = ERROR || w1 = WARN, w2 != x* && w2 != y]",
        &["ERROR a", "WARN z"],
        &["INFO a", "WARN xa", "ERROR y"],
    ),
];

#[test]
fn patterns_match_as_the_documentation_says() {
    for (pattern, matching, others) in EXAMPLES {
        let parsed = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for event in *matching {
            assert!(parsed.matches(event), "{pattern} matches {event}");
        }
        for event in *others {
            assert!(!parsed.matches(event), "{pattern} does not match {event}");
        }
    }
}

#[test]
fn what_is_no_pattern_is_refused() {
    for text in [
        "a:b",
        "\"open",
        "%open",
        "%(%",
        "-",
        "?",
        "a\"b\"",
        "\"a\"b",
        "{",
        "{}",
        "{ $.a }",
        "{ a = 1 }",
        "{ $.a = }",
        "{ $.a > x }",
        "{ $.a = 1 } x",
        "{ $.a IS }",
        "{ ($.a = 1 }",
        "{ $ = 1 }",
        "{ $.a[x] = 1 }",
        "{ $.a = 1 && }",
        "[",
        "[a",
        "[a = ]",
        "[a = 1 && b = 2]",
        "[..., ...]",
        "[a,,b]",
        "[] x",
    ] {
        assert!(Pattern::parse(text).is_err(), "{text} was taken");
    }
    let deep = format!("{{ {}$.a = 1{} }}", "(".repeat(300), ")".repeat(300));
    assert!(Pattern::parse(&deep).is_err());
}

proptest::proptest! {
    /// Any text is a pattern or refused, and any event matched or not; nothing panics.
    #[test]
    fn no_text_breaks_the_parser(text in "[{}\\[\\]()$.=!<>&|?%*\"'\\\\ ,a1é-]{0,40}|\\PC{0,40}", event in "[{}\\[\\]\":, a1é]{0,40}|\\PC{0,40}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            let _ = pattern.matches(&event);
        }
    }

    /// Words match exactly the events that contain them all, and excluded ones take those away.
    #[test]
    fn terms_are_substrings(words in proptest::collection::vec("[a-c]{1,2}", 1..4), not in "[a-c]{1,2}", event in "[a-c ]{0,12}") {
        let all = words.iter().all(|word| event.contains(word.as_str()));
        let any = words.iter().any(|word| event.contains(word.as_str()));
        let required = Pattern::parse(&words.join(" ")).unwrap();
        proptest::prop_assert_eq!(required.matches(&event), all);
        let optional = Pattern::parse(&words.iter().map(|word| format!("?{word}")).collect::<Vec<_>>().join(" ")).unwrap();
        proptest::prop_assert_eq!(optional.matches(&event), any);
        let excluding = Pattern::parse(&format!("{} -{not}", words.join(" "))).unwrap();
        proptest::prop_assert_eq!(excluding.matches(&event), all && !event.contains(&not));
    }

    /// A quoted phrase finds itself anywhere, whatever is in it.
    #[test]
    fn a_phrase_finds_itself(phrase in "\\PC{1,20}", before in "\\PC{0,10}", after in "\\PC{0,10}") {
        let quoted = format!("\"{}\"", phrase.replace('\\', "\\\\").replace('"', "\\\""));
        let pattern = Pattern::parse(&quoted).unwrap();
        let event = format!("{before}{phrase}{after}");
        proptest::prop_assert!(pattern.matches(&event));
    }

    /// Comparisons of JSON numbers are those of numbers.
    #[test]
    fn numbers_compare(found in -1000i32..1000, wanted in -1000i32..1000) {
        let event = format!(r#"{{"a":{{"b":{found}}}}}"#);
        for (operator, holds) in [("=", found == wanted), ("!=", found != wanted), ("<", found < wanted), ("<=", found <= wanted), (">", found > wanted), (">=", found >= wanted)] {
            let pattern = Pattern::parse(&format!("{{ $.a.b {operator} {wanted} }}")).unwrap();
            proptest::prop_assert_eq!(pattern.matches(&event), holds);
        }
    }

    /// A star stands for any text, between and around.
    #[test]
    fn stars_stand_for_anything(a in "[a-c]{0,3}", b in "[a-c]{0,3}", between in "[a-c]{0,3}") {
        let pattern = Pattern::parse(&format!("{{ $.x = \"{a}*{b}\" }}")).unwrap();
        let event = format!(r#"{{"x":"{a}{between}{b}"}}"#);
        proptest::prop_assert!(pattern.matches(&event));
    }
}

#[test]
fn two_regular_expressions_are_the_most() {
    assert!(Pattern::parse("%a% %b%").is_ok());
    assert!(Pattern::parse("%a% %b% %c%").is_err());
}
