//! Lines on standard output.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::envelope::SinkBatch;
use super::queue::WriteBounds;
use super::worker::{SinkWriter, WriteError};

const BOUNDS: WriteBounds = WriteBounds { frames: 1000, bytes: 256 * 1024 };

/// Writes to standard output, on threads that may block.
pub(super) struct StdoutWriter(Arc<Mutex<Output>>);

struct Output {
    to: Box<dyn Write + Send>,
    /// How much of what failed was written: it is given again, and goes on from there.
    written: usize,
    /// Half a line was left, of what was not given again.
    torn: bool,
}

impl StdoutWriter {
    pub(super) fn new() -> Self {
        Self::to(Box::new(io::stdout()))
    }

    fn to(to: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(Output { to, written: 0, torn: false })))
    }
}

impl Output {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        while let Some(rest) = text.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.to.flush()?;
        (self.written, self.torn) = (0, false);
        Ok(())
    }

    fn forget(&mut self) {
        self.torn |= self.written > 0;
        self.written = 0;
    }
}

#[async_trait]
impl SinkWriter for StdoutWriter {
    fn bounds(&self) -> WriteBounds {
        BOUNDS
    }

    async fn write(&mut self, items: &[Arc<SinkBatch>]) -> Result<(), WriteError> {
        let (output, items) = (Arc::clone(&self.0), items.to_vec());
        let write = move || {
            let mut output = output.lock();
            let mut text = if output.torn { b"\n".to_vec() } else { Vec::new() };
            items.iter().for_each(|item| text.extend_from_slice(&item.lines().text));
            output.write(&text)
        };
        let failed = |error: &dyn std::fmt::Display| {
            Err(WriteError::Failed(format!("cannot write to standard output: {error}")))
        };
        match spawn_blocking(write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error),
        }
    }

    fn forget(&mut self) {
        self.0.lock().forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, and fails every other time.
    struct ReluctantWriter {
        taken: Arc<Mutex<Vec<u8>>>,
        calls: usize,
    }

    impl Write for ReluctantWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let some = &bytes[..bytes.len().min(7)];
            self.taken.lock().extend_from_slice(some);
            Ok(some.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_fails_half_way_goes_on_from_there() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let to = Box::new(ReluctantWriter { taken: Arc::clone(&taken), calls: 0 });
        let mut output = Output { to, written: 0, torn: false };
        for text in [&b"one line that is long\n"[..], b"two\n"] {
            while output.write(text).is_err() {}
        }
        assert_eq!(taken.lock().as_slice(), b"one line that is long\ntwo\n");
    }

    #[tokio::test]
    async fn what_is_forgotten_half_way_ends_a_line() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let mut sink = StdoutWriter::to(Box::new(ReluctantWriter { taken: Arc::clone(&taken), calls: 0 }));
        let item = |seq| super::super::sinks_test::item("a", [seq]);
        assert!(sink.write(&[item(1)]).await.is_err());
        sink.forget();
        while sink.write(&[item(2)]).await.is_err() {}
        let taken = String::from_utf8(taken.lock().clone()).unwrap();
        let lines: Vec<&str> = taken.lines().collect();
        assert!(lines.len() == 2 && lines[0].len() == 7, "{taken}");
        assert!(lines[1].contains("\"sequence\":2"), "{taken}");
    }

    #[tokio::test]
    async fn a_closed_pipe_is_a_failing_sink() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut sink = StdoutWriter::to(Box::new(writer));
        let item = super::super::sinks_test::item("a", [1]);
        let failed = sink.write(&[item]).await;
        assert!(
            matches!(&failed, Err(WriteError::Failed(what)) if what.contains("Broken pipe")),
            "{failed:?}"
        );
    }
}
