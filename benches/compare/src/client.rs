//! One keep-alive connection that sends a request and reads its answer: nothing that could cost more than the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    address: String,
    body: Vec<u8>,
    head: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
        let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(Duration::from_secs(120))));
        set.map_err(|error| error.to_string())?;
        let stream = BufReader::with_capacity(256 << 10, stream);
        Ok(Self { stream, address: address.to_owned(), body: Vec::new(), head: Vec::new() })
    }

    /// Sends a request; the body of the answer. An answer other than 200 is an error.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Result<&[u8], String> {
        self.head.clear();
        write!(
            self.head,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        )
        .map_err(|error| error.to_string())?;
        self.head.extend_from_slice(body);
        self.stream.get_mut().write_all(&self.head).map_err(|error| format!("{path}: {error}"))?;
        self.answer().map_err(|error| format!("{path}: {error}"))
    }

    fn answer(&mut self) -> Result<&[u8], String> {
        let mut line = String::new();
        let mut read_line = |stream: &mut BufReader<TcpStream>| -> Result<String, String> {
            line.clear();
            match stream.read_line(&mut line) {
                Ok(0) => Err("the server closed the connection".to_owned()),
                Ok(_) => Ok(line.trim_end().to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let status = read_line(&mut self.stream)?;
        let (mut length, mut chunked) = (0usize, false);
        loop {
            let header = read_line(&mut self.stream)?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| "a bad Content-Length".to_owned())?;
            }
            chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
        }
        self.body.clear();
        if chunked {
            loop {
                let size = read_line(&mut self.stream)?;
                let size = usize::from_str_radix(&size, 16).map_err(|_| "a bad chunk".to_owned())?;
                let start = self.body.len();
                self.body.resize(start + size, 0);
                self.stream.read_exact(&mut self.body[start..]).map_err(|error| error.to_string())?;
                read_line(&mut self.stream)?;
                if size == 0 {
                    break;
                }
            }
        } else {
            self.body.resize(length, 0);
            self.stream.read_exact(&mut self.body).map_err(|error| error.to_string())?;
        }
        if !status.contains(" 200") {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&self.body[..self.body.len().min(300)])));
        }
        Ok(&self.body)
    }
}
