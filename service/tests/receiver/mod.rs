//! Who is posted to, for tests: a server of HTTP that answers as it is told, and keeps what came.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How it answers a post.
pub enum Reply {
    /// With a status and further headers.
    Status(u16, &'static str),
    /// Not at all, as long as the one who posts waits.
    Nothing,
}

/// A post that came.
#[derive(Clone, Debug)]
pub struct Post {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Post {
    /// The value of a header; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The id that it is posted under.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }
}

/// A server that goes on as long as the test.
pub struct Receiver {
    pub url: String,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Receiver {
    /// A server that answers each post as `reply` says, which is told how many came before it.
    pub fn start(reply: impl Fn(usize, &Post) -> Reply + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let posts = Arc::new(Mutex::new(Vec::new()));
        let (kept, reply) = (posts.clone(), Arc::new(reply));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, reply) = (kept.clone(), reply.clone());
                std::thread::spawn(move || connection(stream, &kept, &*reply));
            }
        });
        Receiver { url, posts }
    }

    /// All posts that came.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().expect("nobody panics with it").clone()
    }

    /// Waits for posts until `enough` says so.
    #[track_caller]
    pub fn until(&self, enough: impl Fn(&[Post]) -> bool) -> Vec<Post> {
        let begun = Instant::now();
        loop {
            let posts = self.posts();
            if enough(&posts) {
                return posts;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "only {} posts came: {posts:#?}", posts.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Answers the posts of a connection until it is closed.
fn connection(stream: TcpStream, posts: &Mutex<Vec<Post>>, reply: &dyn Fn(usize, &Post) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket has two ends"));
    let mut writer = stream;
    while let Some(post) = read(&mut reader) {
        let before = {
            let mut posts = posts.lock().expect("nobody panics with it");
            posts.push(post.clone());
            posts.len() - 1
        };
        match reply(before, &post) {
            Reply::Status(status, headers) => {
                let answer = format!("HTTP/1.1 {status} so\r\n{headers}content-length: 2\r\n\r\nso");
                if writer.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            // Until the other side closes.
            Reply::Nothing => {
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Post> {
    let mut line = || {
        let mut text = String::new();
        let length = reader.read_line(&mut text).ok()?;
        (length > 0).then(|| text.trim_end().to_owned())
    };
    let path = line()?.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Post { path, headers, body: String::from_utf8(body).ok()?, at: Instant::now() })
}
