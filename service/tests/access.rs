//! Who may do what by HTTP: every route by every role, tokens from their making to their end, four eyes, and the record of it all.

mod service;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use lapwing::api;
use lapwing::auth::Role;
use serde_json::{Value, json};

use self::service::{Answer, Service, command, folder};

/// Who may use each route, in the order of the code. Everybody else is told so.
const ROUTES: &str = "
POST /v1/events: operator admin
GET /v1/alerts/stream: viewer analyst approver operator admin
POST /v1/control: analyst approver admin
POST /v1/plan: viewer analyst approver operator admin
GET /v1/catalog: viewer analyst approver operator admin
GET /v1/history: viewer analyst approver operator admin
GET /v1/dead-letters: viewer analyst approver operator admin
GET /v1/dead-letters/{id}: viewer analyst approver operator admin
POST /v1/dead-letters/redrive: operator admin
GET /v1/status: viewer analyst approver operator admin
GET /metrics: viewer analyst approver operator admin
GET /v1/me: viewer analyst approver operator admin
GET /v1/tokens: admin
POST /v1/tokens: admin
DELETE /v1/tokens/{id}: admin
POST /v1/tokens/{id}/rotate: admin
GET /v1/audit: admin
GET /v1/audit/verify: admin
";

const RULES: &str = "\
event login { at timestamp  user string  success bool }

list known of string

rule failed {
  by       user
  match    f: login where not success
}
";

fn rules(dir: &Path) -> PathBuf {
    let path = dir.join("rules.lap");
    std::fs::write(&path, RULES).expect("it can be written");
    path
}

fn started(dir: &Path, sets: &[&str]) -> Service {
    let rules = rules(dir);
    let rules = rules.to_str().expect("a plain path");
    Service::start(&mut command(&dir.join("data"), &[rules], sets)).expect("it is ready")
}

/// Asks as somebody.
fn ask_as(service: &Service, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    service.ask(method, path, &headers, body.as_bytes()).expect("it answers")
}

/// Makes a token by the administrator's: its number and the token.
fn made(service: &Service, name: &str, role: Role) -> (u64, String) {
    let answer = ask_as(service, &service.token, "POST", "/v1/tokens", &json!({"name": name, "role": role}));
    assert_eq!(answer.status, 201, "{answer:?}");
    (answer.body["id"].as_u64().expect("a number"), answer.body["token"].as_str().expect("a token").to_owned())
}

#[test]
fn every_route_is_for_its_roles_alone() {
    let dir = folder("access-routes");
    let service = started(&dir, &[]);
    let tokens: Vec<_> = Role::ALL.into_iter().map(|role| (role, made(&service, role.as_str(), role).1)).collect();
    let mut told = String::from("\n");
    for (method, path, _) in api::needs() {
        told.push_str(&format!("{method} {path}:"));
        // No handler finds anything to do in it.
        let asked = path.replace("{id}", "999999");
        let asked = if path.ends_with("stream") { format!("{asked}?after=x") } else { asked };
        for (role, token) in &tokens {
            let answer = ask_as(&service, token, method.as_str(), &asked, &Value::Null);
            assert_ne!(answer.status, 401, "{method} {path} as {role:?}: {answer:?}");
            if answer.status != 403 {
                told.push_str(&format!(" {}", role.as_str()));
            }
        }
        told.push('\n');
        for nobody in
            ["Bearer lapwing_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "Basic YWRtaW46YWRtaW4=", "Bearer", ""]
        {
            let answer = service.ask(method.as_str(), &asked, &[("authorization", nobody)], b"").expect("it answers");
            assert_eq!(answer.status, 401, "{method} {path} as `{nobody}`: {answer:?}");
        }
    }
    assert_eq!(told, ROUTES);
    for open in ["/livez", "/readyz"] {
        assert_eq!(service.ask("GET", open, &[("authorization", "")], b"").expect("it answers").status, 200);
    }
    let me = ask_as(&service, &tokens[1].1, "GET", "/v1/me", &Value::Null).body;
    assert_eq!(me, json!({"name": "analyst", "role": "analyst", "permissions": ["read", "draft"]}));
}

#[test]
fn tokens_end_without_a_restart_and_live_through_one() {
    let dir = folder("access-tokens");
    let service = started(&dir, &[]);
    let (id, first) = made(&service, "collector", Role::Viewer);
    let status = |service: &Service, token: &str| ask_as(service, token, "GET", "/v1/catalog", &Value::Null).status;
    assert_eq!(status(&service, &first), 200);
    let rotate = |keep: Value| {
        let path = format!("/v1/tokens/{id}/rotate");
        let answer = ask_as(&service, &service.token, "POST", &path, &keep);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["token"].as_str().expect("a token").to_owned()
    };
    let second = rotate(json!({"keep_for": "1h"}));
    assert_eq!((status(&service, &first), status(&service, &second)), (200, 200));
    let third = rotate(json!({}));
    assert_eq!([&first, &second, &third].map(|token| status(&service, token)), [401, 401, 200]);
    let brief = ask_as(
        &service,
        &service.token,
        "POST",
        "/v1/tokens",
        &json!({"name": "b", "role": "viewer", "expires_in": "1ms"}),
    );
    let brief = brief.body["token"].as_str().expect("a token").to_owned();
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(status(&service, &brief), 401);
    let (admin, administrator) = (service.token.clone(), made(&service, "second", Role::Admin).1);
    let listed = ask_as(&service, &administrator, "GET", "/v1/tokens", &Value::Null).body.to_string();
    assert!(listed.contains("collector") && !listed.contains("lapwing_") && !listed.contains("argon2"), "{listed}");
    for (body, words) in [
        (json!({"name": "x", "role": "root"}), "unknown variant `root`"),
        (json!({"name": " ", "role": "viewer"}), "`name`"),
        (json!({"name": "x", "role": "viewer", "expires_in": "soon"}), "is no length of time"),
    ] {
        let answer = ask_as(&service, &admin, "POST", "/v1/tokens", &body);
        assert!(matches!(answer.status, 400 | 422), "{answer:?}");
        assert!(answer.body.to_string().contains(words), "{answer:?}");
    }
    assert_eq!(service.terminate().0, Some(0));

    let service = started(&dir, &[]);
    assert_eq!([&third, &second].map(|token| status(&service, token)), [200, 401]);
    let revoke = |id: u64| ask_as(&service, &admin, "DELETE", &format!("/v1/tokens/{id}"), &Value::Null).status;
    assert_eq!((revoke(id), revoke(id), status(&service, &third)), (204, 404, 401));
    // One administrator has to stay.
    assert_eq!((revoke(1), status(&service, &admin)), (204, 401));
    let last = ask_as(&service, &administrator, "DELETE", "/v1/tokens/4", &Value::Null);
    assert_eq!(last.status, 409, "{last:?}");
    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("lapwing_"), "{said}");
}

#[test]
fn a_rule_takes_its_roles_and_where_it_is_wanted_four_eyes() {
    let dir = folder("access-eyes");
    let service = started(&dir, &["auth.four_eyes=true"]);
    let [(_, ann), (_, bob)] = ["ann", "bob"].map(|name| made(&service, name, Role::Approver));
    let (_, eve) = made(&service, "eve", Role::Analyst);
    let source = "rule second {\n  by user\n  match f: login where success\n}\n";
    let put = |stage: &str| json!({"op": "put", "kind": "rule", "name": "second", "source": source, "stage": stage});
    let live = json!({"op": "stage", "kind": "rule", "name": "second", "stage": "live"});
    let control = |token: &str, message: &Value| ask_as(&service, token, "POST", "/v1/control", message);
    let refused = |answer: Answer, words: &str| {
        assert_eq!(answer.status, 403, "{answer:?}");
        let detail = answer.body["detail"].as_str().expect("a sentence").to_owned();
        assert!(detail.contains(words), "{detail}");
    };
    refused(control(&eve, &put("live")), "\"stage\": \"draft\"");
    refused(control(&eve, &live), "`approver` and `admin`");
    refused(control(&ann, &put("live")), "let somebody else");
    assert_eq!(control(&eve, &put("draft")).status, 200);
    assert_eq!(control(&ann, &put("draft")).status, 200);
    refused(control(&ann, &live), "`ann` has written it");
    let mut as_bob = live.clone();
    as_bob["author"] = json!("bob");
    refused(control(&ann, &as_bob), "by `bob`'s own token");
    refused(
        control(&service.token, &json!({"op": "apply", "kind": "rules", "name": "f", "files": []})),
        "`auth.four_eyes`",
    );
    assert_eq!(control(&bob, &live).status, 200);
    let history = ask_as(&service, &bob, "GET", "/v1/history", &Value::Null).body;
    let authors: Vec<_> = history
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|change| change["what"]["message"]["author"].as_str())
        .collect();
    assert_eq!(authors, ["eve", "ann", "bob"], "{history}");
}

#[test]
fn what_was_asked_for_is_on_record_and_a_changed_record_is_found() {
    let dir = folder("access-audit");
    let service = started(&dir, &[]);
    let (_, eve) = made(&service, "eve", Role::Viewer);
    let listed = json!({"op": "put", "kind": "list", "name": "known", "add": ["x"], "reason": "seen"});
    assert_eq!(ask_as(&service, &eve, "POST", "/v1/control", &listed).status, 403);
    assert_eq!(ask_as(&service, &service.token, "POST", "/v1/control", &listed).status, 200);
    let page = ask_as(&service, &service.token, "GET", "/v1/audit?limit=10", &Value::Null).body;
    let said = |line: &Value| {
        (line["principal"].clone(), line["asked"].clone(), line["denied"].clone(), line["answered"].clone())
    };
    let lines: Vec<_> = page["lines"].as_array().expect("lines").iter().map(said).collect();
    assert_eq!(lines.len(), 5, "{page}");
    assert_eq!((&lines[2].0, &lines[2].2), (&json!("eve"), &json!("POST /v1/control")));
    assert_eq!((&lines[3].0, &lines[3].1), (&json!("admin"), &json!("POST /v1/control")));
    let change = &lines[4].3["change"];
    assert_eq!(
        (&lines[4].3["status"], &change["name"], &change["reason"], &change["change"]),
        (&json!(200), &json!("known"), &json!("seen"), &json!(1))
    );

    let lapwing = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        command.args(arguments).env("LAPWING_TOKEN", &service.token).env("LAPWING_API", &service.url);
        let output = command.output().expect("it starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let file = dir.join("data/audit.jsonl");
    let name = file.to_str().expect("a plain path");
    let hash = page["head"]["hash"].as_str().expect("a hash");
    for arguments in
        [vec!["audit", "verify"], vec!["audit", "verify", name], vec!["audit", "verify", name, "--head", hash]]
    {
        let (code, said) = lapwing(&arguments);
        assert!(code == Some(0) && said.contains("is sound: 5 lines"), "{said}");
    }
    let (code, said) = lapwing(&["token", "create", "cli", "--role", "viewer"]);
    assert!(code == Some(0) && said.starts_with("lapwing_"), "{said}");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replacen("seen", "heard", 1)).expect("it can be written");
    for arguments in [vec!["audit", "verify"], vec!["audit", "verify", name]] {
        let (code, said) = lapwing(&arguments);
        assert!(code == Some(1) && said.contains("line 5 of the audit log is not what was written"), "{said}");
    }
    // A service does not go on with it.
    assert_eq!(service.terminate().0, Some(0));
    let rules = rules(&dir);
    let refused = Service::start(&mut command(&dir.join("data"), &[rules.to_str().expect("a plain path")], &[]));
    let said = refused.err().expect("it does not start");
    assert!(said.contains("audit.jsonl") && said.contains("line 5"), "{said}");
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let dir = folder("access-slow");
    let service = started(&dir, &["http.connections_max=200", "http.header_timeout=500ms"]);
    let address = service.url.strip_prefix("http://").expect("an address");
    let slow: Vec<TcpStream> = (0..2_000)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(address).ok()?;
            stream.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ").ok()?;
            Some(stream)
        })
        .collect();
    assert!(slow.len() > 1_000, "only {} connections were made", slow.len());
    // It comes in its turn, behind those that are closed for their silence.
    let answer = service.ask("GET", "/v1/status", &[], b"").expect("it answers");
    assert_eq!(answer.status, 200);
    let ended = slow.into_iter().map(|mut stream| stream.read_to_end(&mut Vec::new())).filter(Result::is_ok).count();
    assert!(ended > 0);
}
