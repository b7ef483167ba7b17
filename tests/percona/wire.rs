//! As much of MySQL's protocol as a client needs to log in and to ask for values by name. Any login is taken.

use std::collections::BTreeMap;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Long password, connect with a database, protocol 4.1, transactions, secure connection, plugins by name.
const CAPABILITIES: u32 = 0x0008_a209;
/// The table of members, and the name by which facts have its rows, between commas.
pub(crate) const MEMBERS: &str = "mysql.wsrep_cluster_members";
const AUTOCOMMIT: [u8; 2] = [2, 0];
const UTF8MB4: u8 = 255;
const QUIT: u8 = 1;
const QUERY: u8 = 3;
const PING: u8 = 14;

/// Answers one client until it leaves. `facts` are looked at for every statement: status variables by their names, and
/// `@@…` as they are asked for.
pub(crate) async fn serve(mut client: UnixStream, facts: impl Fn() -> BTreeMap<&'static str, String> + Send) {
    // A client that goes away in the middle concerns nobody.
    let _ = talk(&mut client, facts).await;
}

async fn talk(client: &mut UnixStream, facts: impl Fn() -> BTreeMap<&'static str, String>) -> std::io::Result<()> {
    send(client, 0, &[greeting()]).await?;
    let (number, _login) = receive(client).await?;
    send(client, number + 1, &[ok()]).await?;
    loop {
        let (number, packet) = receive(client).await?;
        let answer = match packet.split_first() {
            Some((&QUIT, _)) | None => return Ok(()),
            Some((&PING, _)) => vec![ok()],
            Some((&QUERY, statement)) => answer(&String::from_utf8_lossy(statement), &facts()),
            Some(_) => vec![error("this stand-in knows no such command")],
        };
        send(client, number + 1, &answer).await?;
    }
}

fn answer(statement: &str, facts: &BTreeMap<&'static str, String>) -> Vec<Vec<u8>> {
    if statement.starts_with("SHOW GLOBAL STATUS WHERE Variable_name IN (") {
        let names = statement.split('\'').skip(1).step_by(2);
        let found = names.filter_map(|name| Some(vec![name.to_owned(), facts.get(name)?.clone()]));
        return rows(&["Variable_name", "Value"], &found.collect::<Vec<_>>());
    }
    if statement.strip_prefix("SELECT node_name FROM ") == Some(MEMBERS) {
        let members = facts.get(MEMBERS).map(String::as_str).unwrap_or_default();
        return rows(&["node_name"], &members.split(',').map(|name| vec![name.to_owned()]).collect::<Vec<_>>());
    }
    let Some(names) = statement.strip_prefix("SELECT ") else { return vec![error("no such statement")] };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    let values: Option<Vec<String>> = names.iter().map(|name| facts.get(name).cloned()).collect();
    match values {
        Some(values) => rows(&names, &[values]),
        None => vec![error(&format!("no answer to {statement}"))],
    }
}

fn greeting() -> Vec<u8> {
    let [a, b, c, d] = CAPABILITIES.to_le_bytes();
    let mut packet = b"\x0a8.4.10-10.1\0\x01\0\0\0abcdefgh\0".to_vec();
    packet.extend([a, b, UTF8MB4, AUTOCOMMIT[0], AUTOCOMMIT[1], c, d, 21]);
    packet.extend([0; 10]);
    packet.extend(b"ijklmnopqrst\0caching_sha2_password\0");
    packet
}

fn ok() -> Vec<u8> {
    vec![0, 0, 0, AUTOCOMMIT[0], AUTOCOMMIT[1], 0, 0]
}

fn error(text: &str) -> Vec<u8> {
    [b"\xff\x28\x04#42000", text.as_bytes()].concat()
}

fn rows(columns: &[&str], rows: &[Vec<String>]) -> Vec<Vec<u8>> {
    let end = || vec![0xfe, 0, 0, AUTOCOMMIT[0], AUTOCOMMIT[1]];
    let mut packets = vec![vec![u8::try_from(columns.len()).expect("few columns")]];
    for column in columns {
        let mut packet = strings(&["def", "", "", "", column, ""]);
        // Fixed length 12: character set, width, VAR_STRING, no flags, no decimals, filler.
        packet.extend([12, UTF8MB4, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        packets.push(packet);
    }
    packets.push(end());
    packets.extend(rows.iter().map(|row| strings(&row.iter().map(String::as_str).collect::<Vec<_>>())));
    packets.push(end());
    packets
}

/// Texts shorter than 251 bytes, each behind its length.
fn strings(texts: &[&str]) -> Vec<u8> {
    let one = |text: &&str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    texts.iter().flat_map(one).collect()
}

async fn send(client: &mut UnixStream, first: u8, packets: &[Vec<u8>]) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for (packet, number) in packets.iter().zip(first..) {
        let [a, b, c, _] = u32::try_from(packet.len()).expect("a short packet").to_le_bytes();
        bytes.extend([a, b, c, number]);
        bytes.extend(packet);
    }
    client.write_all(&bytes).await
}

async fn receive(client: &mut UnixStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let [a, b, c, number] = head;
    let mut packet = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
    client.read_exact(&mut packet).await?;
    Ok((number, packet))
}
