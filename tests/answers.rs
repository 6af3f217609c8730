//! No byte of an answer that breaks its contract reaches the caller, a cut answer never looks whole, and what the
//! service did is said truly: whoever reads `avrogate-retryable: true` may send again.

mod common;

use avrogate::control::config::Protocol;
use bytes::Bytes;
use common::bodies::{self, CANARY, accepted, order};
use common::caller::Failed;
use common::world::POLICY;
use common::{Answer, Ask, BOTH, Caller, Http, Reply, Setup, Step, World};
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::H2c];
/// A service that does not answer does not keep a test waiting.
const IMPATIENT: &str = "timeouts: {firstByte: 500ms, request: 1s, connect: 500ms}";

async fn world(protocol: Protocol) -> World {
    World::with(Setup { protocol, bootstrap: IMPATIENT, ..Setup::default() }).await
}

async fn order_once(world: &World, caller: &Caller, http: Http, answer: Answer) -> Reply {
    world.service.answers(answer);
    caller.send(http, Ask::post("/v1/orders", order())).await
}

fn whole(status: u16, field: (&'static str, &'static str), body: impl Into<Bytes>) -> Answer {
    Answer::Whole { status, fields: vec![field], body: body.into() }
}

#[tokio::test]
async fn an_answer_that_breaks_its_contract_is_replaced_whole() {
    let plain = ("x", "y");
    let answer = accepted();
    let mut wrong_schema = answer.clone();
    wrong_schema[2] ^= 1;
    let mut wrong_utf8 = answer.clone();
    wrong_utf8[12] = 0xff;
    let cases = [
        ("nothing", whole(200, plain, vec![])),
        ("cut", whole(200, plain, answer[..answer.len() - 1].to_vec())),
        ("a byte too many", whole(201, plain, [&answer[..], &[0]].concat())),
        ("an unknown schema", whole(202, plain, wrong_schema)),
        ("another schema", whole(200, plain, bodies::order_single_object())),
        ("another framing", whole(200, plain, bodies::refund())),
        ("bad text", whole(299, plain, wrong_utf8)),
        ("text", whole(200, ("content-type", "text/plain"), "no Avro")),
        ("coded", whole(200, ("content-encoding", "gzip"), answer.clone())),
        ("a part", whole(206, ("content-range", "bytes 0-9/100"), answer.clone())),
    ];
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            for (what, answer) in &cases {
                let reply = order_once(&world, &caller, http, answer.clone()).await;
                assert_eq!(reply.verdict(), (502, "answer_invalid"), "{what}");
                assert_eq!(reply.field("avrogate-retryable"), "false", "{what}");
                assert_eq!(reply.problem()["code"], "answer_invalid", "{what}");
                assert_eq!(reply.field("x"), "", "no field of the service's either");
                assert!(!String::from_utf8_lossy(&reply.body).contains(CANARY), "{what}");
            }
        }
        let ended = world.end().await;
        assert_eq!(ended.seen.len(), cases.len() * 2, "the service has acted on each");
        assert!(ended.decisions.iter().all(|line| line["outcome"] == "refused" && line["status"] == 502));
    }
}

#[tokio::test]
async fn an_answer_says_which_field_and_which_byte() {
    let world = World::start().await;
    let cut = accepted().len() - 1;
    world.service.answers(Answer::created(accepted()[..cut].to_vec()));
    let reply = world.caller("checkout").send(Http::H1, Ask::post("/v1/orders", order())).await;
    let problem = reply.problem();
    let found = ["fault", "path", "offset", "subject", "version"].map(|name| problem[name].to_string());
    assert_eq!(found, ["\"truncated\"", "\"accepted_at\"", &*cut.to_string(), "\"orders-accepted\"", "1"]);
}

#[tokio::test]
async fn what_no_contract_binds_passes() {
    let text = ("content-type", "text/plain");
    let anything = "anything at all";
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            for status in [300, 400, 404, 409, 422, 500, 503] {
                let reply = order_once(&world, &caller, http, whole(status, text, anything)).await;
                assert_eq!((reply.status, &*reply.body, reply.reason()), (status, anything.as_bytes(), ""));
            }
            for status in [204, 304] {
                let reply = order_once(&world, &caller, http, whole(status, text, vec![])).await;
                assert_eq!((reply.status, reply.reason()), (status, ""));
            }
            world.service.answers(whole(200, text, vec![]));
            let reply = caller.send(http, Ask::new("HEAD", "/judged")).await;
            assert_eq!((reply.status, reply.reason()), (200, ""));
            for answer in [whole(200, text, anything), whole(206, ("content-encoding", "gzip"), anything)] {
                world.service.answers(answer);
                let reply = caller.send(http, Ask::get("/unjudged").method("POST")).await;
                assert_eq!(reply.verdict(), (422, "datum_invalid"));
                let reply = caller.send(http, Ask::post("/unjudged", order())).await;
                assert_eq!((&*reply.body, reply.reason()), (anything.as_bytes(), ""));
            }
        }
    }
}

/// Where errors have a contract of their own, they are held to it.
#[tokio::test]
async fn errors_are_judged_where_they_have_a_contract() {
    let world = World::start().await;
    let caller = world.caller("checkout");
    for http in BOTH {
        for (answer, verdict) in [
            (Answer::status(200, accepted()), (200, "")),
            (Answer::status(409, bodies::refund()), (409, "")),
            (Answer::status(500, bodies::refund()), (500, "")),
            (Answer::status(409, accepted()), (502, "answer_invalid")),
            (Answer::status(200, bodies::refund()), (502, "answer_invalid")),
            (Answer::status(500, "it broke"), (502, "answer_invalid")),
        ] {
            world.service.answers(answer);
            assert_eq!(caller.send(http, Ask::get("/judged")).await.verdict(), verdict);
        }
    }
}

/// A contract for errors that only warns is counted as one that warns, whatever holds for other answers.
#[tokio::test]
async fn an_answer_is_counted_in_the_mode_of_its_own_contract() {
    let errors = "errors: {framing: [Confluent], schemas: {subjects: [refunds-value]}";
    let policy = POLICY.replace(errors, &format!("{errors}, onInvalid: Warn"));
    assert_ne!(policy, POLICY);
    let world = World::with(Setup { policy, ..Setup::default() }).await;
    for http in BOTH {
        for answer in [Answer::status(409, accepted()), Answer::status(200, accepted())] {
            world.service.answers(answer);
            assert_eq!(world.caller("checkout").send(http, Ask::get("/judged")).await.reason(), "");
        }
    }
    let ended = world.end().await;
    for (result, mode) in [("broken", "warn"), ("kept", "enforce")] {
        let labels = ["side=\"response\"".to_owned(), format!("result=\"{result}\""), format!("mode=\"{mode}\"")];
        let count = ended.metric("avrogate_validations_total", &labels.each_ref().map(|label| &**label));
        assert_eq!(count, 2.0, "{}", ended.metrics);
    }
}

/// What the service says in avrogate's name, and what is for one connection, stays here.
#[tokio::test]
async fn the_head_of_an_answer_is_built_anew() {
    let world = World::start().await;
    let body = accepted();
    let head = format!(
        "HTTP/1.1 201 Made\r\ncontent-length: {}\r\ncontent-type: application/avro\r\nset-cookie: a=b\r\n\
         set-cookie: c=d\r\nx-mine: 1\r\nconnection: keep-alive, x-mine\r\nkeep-alive: timeout=5\r\n\
         proxy-connection: keep-alive\r\nupgrade: h2c\r\ntrailer: x\r\navrogate-reason: policy_denied\r\n\
         avrogate-retryable: true\r\n\r\n",
        body.len()
    );
    world.service.answers(Answer::raw([head.as_bytes(), &body].concat()));
    for http in BOTH {
        let reply = world.caller("checkout").send(http, Ask::post("/v1/orders", order())).await;
        assert_eq!((reply.status, &*reply.body), (201, &*body));
        let mut names: Vec<_> =
            reply.fields.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "date").collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "content-type", "set-cookie", "set-cookie"], "{http:?}");
    }
}

#[tokio::test]
async fn a_service_that_breaks_off_before_its_answer_may_have_acted() {
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            let reply = order_once(&world, &caller, http, Answer::HangsUp).await;
            assert_eq!(reply.verdict(), (502, "service_failed"), "{http:?} {protocol:?}");
            assert_eq!(reply.field("avrogate-retryable"), "false");
            // Within an answer that is judged: nothing of it has gone.
            for answer in [Answer::Dies(Bytes::new()), Answer::Dies(accepted()[..9].to_vec().into())] {
                let reply = order_once(&world, &caller, http, answer).await;
                assert_eq!(reply.verdict(), (502, "service_failed"), "{http:?} {protocol:?}");
            }
        }
        let ended = world.end().await;
        assert_eq!(ended.seen.len(), 6, "each executed once");
        assert!(ended.decisions.iter().all(|line| line["outcome"] == "failed"));
    }
}

/// An answer that is cut after its first byte went on is never a whole, shorter one.
#[tokio::test]
async fn a_cut_answer_is_never_whole() {
    // What was not written yet when it broke off is lost with the rest, the head too.
    let is_cut = |reply: Result<Reply, Failed>| {
        if let Ok(reply) = reply {
            assert_eq!((reply.status, reply.whole), (200, false));
        }
    };
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            world.service.answers(Answer::Dies(Bytes::from_static(b"half")));
            is_cut(caller.try_send(http, Ask::get("/healthz")).await);
            if protocol == Protocol::Http1 {
                let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
                world.service.answers(Answer::Raw { bytes: cut.into(), close: true });
                is_cut(caller.try_send(http, Ask::get("/healthz")).await);
            }
        }
        for line in world.end().await.decisions {
            assert_eq!((&line["outcome"], &line["reason"]), (&"failed".into(), &"service_failed".into()));
        }
    }
}

#[tokio::test]
async fn a_service_that_is_late_may_have_acted() {
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            // Before its answer, and within one that is judged.
            for answer in [Answer::Silent, Answer::Stalls(accepted()[..9].to_vec().into())] {
                let reply = order_once(&world, &caller, http, answer).await;
                assert_eq!(reply.verdict(), (504, "service_timeout"), "{http:?} {protocol:?}");
                assert_eq!(reply.field("avrogate-retryable"), "false");
            }
        }
        assert_eq!(world.end().await.seen.len(), 4);
    }
}

/// An answer that stalls after its first byte went on is cut: the caller is not kept for ever.
#[tokio::test]
async fn a_stalled_answer_is_cut() {
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            world.service.answers(Answer::Stalls(Bytes::from_static(b"half")));
            let reply = caller.send(http, Ask::get("/healthz")).await;
            assert_eq!((reply.status, reply.whole), (200, false), "{http:?} {protocol:?}");
        }
        for line in world.end().await.decisions {
            assert_eq!((&line["outcome"], &line["reason"]), (&"failed".into(), &"service_timeout".into()));
        }
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_has_not_acted() {
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        world.service.leaves().await;
        for http in BOTH {
            let reply = world.caller("checkout").send(http, Ask::post("/v1/orders", order())).await;
            assert_eq!(reply.verdict(), (502, "service_unreachable"), "{http:?} {protocol:?}");
            assert_eq!(reply.field("avrogate-retryable"), "true");
        }
    }
}

/// A connection may die while it waits for its next request, without a word.
#[tokio::test]
async fn a_request_meets_a_dead_connection_and_executes_once() {
    let world = World::start().await;
    world.service.is_fickle();
    for http in BOTH {
        let mut conversation = world.caller("checkout").connect(http).await.unwrap();
        for _ in 0..100 {
            let reply = conversation.send(Ask::post("/v1/orders", order())).await.unwrap();
            assert_eq!(reply.status, 201, "{:?}", reply.body);
            world.service.is_alone().await;
        }
    }
    assert_eq!(world.end().await.seen.len(), 200);
}

#[tokio::test]
async fn connections_to_the_service_are_used_again() {
    for protocol in PROTOCOLS {
        let world = world(protocol).await;
        for http in BOTH {
            for _ in 0..10 {
                let caller = world.caller("checkout");
                assert_eq!(caller.send(http, Ask::post("/v1/orders", order())).await.status, 201);
            }
        }
        assert_eq!(world.service.connections(), 1);
        // Refusals of answers that came whole cost no connection either.
        let reply = order_once(&world, &world.caller("checkout"), Http::H1, Answer::created("x")).await;
        assert_eq!(reply.status, 502);
        let reply = order_once(&world, &world.caller("checkout"), Http::H1, Answer::created(accepted())).await;
        assert_eq!(reply.status, 201);
    }
}

/// What no service should say. The caller sees 502 or what hyper could read of it, and never a second answer.
#[tokio::test]
async fn a_service_that_speaks_no_http_is_not_believed() {
    let ok = "content-length: 2\r\n\r\nok";
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("no HTTP", "hello\r\n\r\n".into(), &[502]),
        ("another version", format!("HTTP/2.0 200 OK\r\n{ok}"), &[502]),
        ("no status", format!("HTTP/1.1 OK\r\n{ok}"), &[502]),
        ("a status of four digits", format!("HTTP/1.1 2000 OK\r\n{ok}"), &[502]),
        ("101 unasked", "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\ntunnel".into(), &[502]),
        ("two lengths", format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n{ok}"), &[502]),
        ("a length with a sign", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok".into(), &[502]),
        ("a coding not known", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok".into(), &[502]),
        (
            "a coding below chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".into(),
            &[502],
        ),
        ("chunks twice", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n".into(), &[502]),
        ("a NUL in a value", format!("HTTP/1.1 200 OK\r\nx: a\0b\r\n{ok}"), &[502]),
        ("a CR in a value", format!("HTTP/1.1 200 OK\r\nx: a\rb\r\n{ok}"), &[502]),
        ("a space before a colon", format!("HTTP/1.1 200 OK\r\nx : b\r\n{ok}"), &[502]),
        ("a huge head", format!("HTTP/1.1 200 OK\r\nx: {}\r\n{ok}", "y".repeat(1 << 20)), &[502]),
        ("too many fields", format!("HTTP/1.1 200 OK\r\n{}{ok}", "x: y\r\n".repeat(500)), &[502]),
        ("interim answers first", format!("{}HTTP/1.1 200 OK\r\n{ok}", "HTTP/1.1 103 Hints\r\n\r\n".repeat(3)), &[200]),
    ];
    let world = world(Protocol::Http1).await;
    let caller = world.caller("checkout");
    for http in BOTH {
        for (what, answer, statuses) in &cases {
            world.service.answers(Answer::Raw { bytes: answer.clone().into(), close: false });
            let reply = caller.send(http, Ask::get("/healthz")).await;
            assert!(statuses.contains(&reply.status), "{http:?} {what}: {reply:?}");
            if reply.status == 200 {
                assert_eq!(&*reply.body, b"ok", "{what}");
            }
            world.service.answers(Answer::status(200, "plain"));
            let reply = caller.send(http, Ask::get("/healthz")).await;
            assert_eq!(&*reply.body, b"plain", "after {what}");
        }
    }
}

/// Interim answers without end are no answer.
#[tokio::test]
async fn a_flood_of_interim_answers_is_a_late_answer() {
    let world = world(Protocol::Http1).await;
    world.service.answers(Answer::raw("HTTP/1.1 102 Processing\r\n\r\n".repeat(10_000)));
    let reply = world.caller("checkout").send(Http::H1, Ask::get("/healthz")).await;
    assert!([502, 504].contains(&reply.status), "{reply:?}");
}

/// A length beside a coding: whoever believes the length reads a second answer behind it.
#[tokio::test]
async fn an_answer_with_length_and_coding_has_one_end() {
    let world = world(Protocol::Http1).await;
    let hidden = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhidden";
    for heads in ["content-length: 5\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 5"]
    {
        world.service.answers(Answer::raw(format!("HTTP/1.1 200 OK\r\n{heads}\r\n\r\n2\r\nok\r\n0\r\n\r\n{hidden}")));
        let mut conversation = world.caller("checkout").connect(Http::H1).await.unwrap();
        for _ in 0..2 {
            let reply = conversation.send(Ask::get("/healthz")).await.unwrap();
            assert!(reply.status == 502 || &*reply.body == b"ok", "{reply:?}");
        }
    }
}

/// While its caller is waited for it is not the service that is silent.
#[tokio::test]
async fn a_slow_upload_is_not_the_services_fault() {
    for protocol in PROTOCOLS {
        let bootstrap = "timeouts: {firstByte: 500ms, request: 20s}";
        let world = World::with(Setup { protocol, bootstrap, ..Setup::default() }).await;
        let caller = world.caller("checkout");
        for http in BOTH {
            let (steps, sending) = slowly(8);
            let (reply, ()) = tokio::join!(caller.send(http, Ask::steps("/free", steps)), sending);
            assert_eq!(reply.status, 201, "{protocol:?} {http:?}");
            world.service.answers(Answer::Silent);
            let begin = Instant::now();
            let (steps, sending) = slowly(4);
            let (reply, ()) = tokio::join!(caller.send(http, Ask::steps("/free", steps)), sending);
            assert_eq!(reply.verdict(), (504, "service_timeout"), "{protocol:?} {http:?}");
            assert!(begin.elapsed() >= Duration::from_millis(4 * 200 + 500), "it counts from the last byte");
            world.service.answers(Answer::created(accepted()));
        }
        assert!(world.end().await.seen.iter().all(|seen| seen.whole));
    }
}

/// So many bytes, one every fifth of a second; and what sends them.
fn slowly(bytes: usize) -> (Vec<Step>, impl Future<Output = ()>) {
    let (mut steps, mut lets_go) = (Vec::new(), Vec::new());
    for _ in 0..bytes {
        let (go, wait) = oneshot::channel();
        steps.extend([Step::Wait(wait), Step::Data(Bytes::from_static(b"x"))]);
        lets_go.push(go);
    }
    let sending = async move {
        for go in lets_go {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let _ = go.send(());
        }
    };
    (steps, sending)
}

/// An upload that does not end in the request's time is its caller's.
#[tokio::test]
async fn an_upload_without_end_is_408() {
    let world = world(Protocol::Http1).await;
    let caller = world.caller("checkout");
    for http in BOTH {
        let steps = vec![Step::Data(Bytes::from_static(b"x")), Step::Never];
        let reply = caller.send(http, Ask::steps("/free", steps)).await;
        assert_eq!(reply.verdict(), (408, "body_timeout"), "{http:?}");
    }
    assert!(world.end().await.seen.iter().all(|seen| !seen.whole));
}

/// A service that reads no further is silent, whatever its caller still has to say.
#[tokio::test]
async fn a_service_that_does_not_read_is_silent() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bootstrap = "timeouts: {firstByte: 500ms, request: 20s}";
    let service = Some(deaf.local_addr().unwrap());
    let world = World::with(Setup { service, bootstrap, ..Setup::default() }).await;
    let begin = Instant::now();
    let reply = world.caller("checkout").send(Http::H2, Ask::post("/free", vec![0; 32 << 20])).await;
    assert_eq!(reply.verdict(), (504, "service_timeout"));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

/// The service may answer before it has heard all.
#[tokio::test]
async fn an_answer_may_come_before_the_end_of_the_upload() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bootstrap = "timeouts: {firstByte: 500ms, request: 20s}";
    let setup = Setup { service: Some(service.local_addr().unwrap()), bootstrap, ..Setup::default() };
    let world = World::with(setup).await;
    let answering = async {
        loop {
            let (mut stream, _) = service.accept().await.unwrap();
            tokio::spawn(async move {
                stream.read_exact(&mut [0; 16]).await.unwrap();
                stream.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 5\r\n\r\nearly").await.unwrap();
                // It stays, and reads on.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    };
    let caller = world.caller("checkout");
    let asking = async {
        for http in BOTH {
            let steps = vec![Step::Data(Bytes::from_static(b"x")), Step::Never];
            let reply = caller.send(http, Ask::steps("/free", steps)).await;
            assert_eq!((reply.verdict(), &*reply.body), ((403, ""), &b"early"[..]), "{http:?}");
        }
    };
    tokio::select! {
        () = answering => {}
        () = asking => {}
    }
}
