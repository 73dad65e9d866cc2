//! The far ends of the consoles: an RFB server that shows one colour, and a serial line that echoes.
//!
//! RFB is spoken after RFC 6143: version 3.8, no authentication, raw encoding, true colour in whatever pixel format
//! the client sets. Each request is answered with one update; incremental requests, which a real server answers
//! when something changes, are answered twice a second, so that a client does not spin.

use hostler_core::ids::MachineId;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const WIDTH: u16 = 320;
const HEIGHT: u16 = 200;

/// The least time between two updates that a client did not insist on.
const FRAME: Duration = Duration::from_millis(500);

/// Echoes what is typed after a login banner, until the other side hangs up.
pub(super) async fn serial(mut line: impl AsyncRead + AsyncWrite + Unpin, host_name: &str) -> Result<()> {
    let banner = format!("\r\nSimulated Linux {host_name} ttyS0\r\n\r\n{host_name} login: ");
    line.write_all(banner.as_bytes()).await?;
    let mut typed = [0; 1024];
    loop {
        match line.read(&mut typed).await? {
            0 => return Ok(()),
            count => line.write_all(&typed[..count]).await?,
        }
    }
}

/// How a client wants its pixels (RFC 6143 §7.4).
#[derive(Clone, Copy)]
struct PixelFormat {
    bytes: usize,
    big_endian: bool,
    max: [u16; 3],
    shift: [u8; 3],
}

impl PixelFormat {
    /// 32 bits, blue first in memory: what most clients ask for anyway.
    const NATIVE: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

    fn parse(wire: &[u8; 16]) -> Result<Self> {
        let [bits, _, big_endian, true_colour, r1, r0, g1, g0, b1, b0, red, green, blue, ..] = *wire;
        if !matches!(bits, 8 | 16 | 32) || true_colour == 0 || red.max(green).max(blue) >= 32 {
            return Err(protocol("a pixel format we do not have"));
        }
        Ok(Self {
            bytes: usize::from(bits / 8),
            big_endian: big_endian != 0,
            max: [[r1, r0], [g1, g0], [b1, b0]].map(u16::from_be_bytes),
            shift: [red, green, blue],
        })
    }

    fn pixel(&self, colour: [u8; 3]) -> Vec<u8> {
        let value = (0..3).fold(0_u32, |value, i| {
            let scaled = u32::from(colour[i]) * u32::from(self.max[i]) / 255;
            value | scaled.wrapping_shl(u32::from(self.shift[i]))
        });
        if self.big_endian {
            value.to_be_bytes()[4 - self.bytes..].to_vec()
        } else {
            value.to_le_bytes()[..self.bytes].to_vec()
        }
    }
}

/// Serves RFB until the client hangs up or says something that makes no sense.
pub(super) async fn display(
    mut line: impl AsyncRead + AsyncWrite + Unpin,
    name: &str,
    colour: [u8; 3],
) -> Result<()> {
    greet(&mut line, name).await?;
    let mut format = PixelFormat::parse(&PixelFormat::NATIVE)?;
    loop {
        let Ok(kind) = line.read_u8().await else { return Ok(()) };
        match kind {
            // SetPixelFormat
            0 => {
                skip(&mut line, 3).await?;
                let mut wire = [0; 16];
                line.read_exact(&mut wire).await?;
                format = PixelFormat::parse(&wire)?;
            }
            // SetEncodings: we only have raw, which every client takes.
            2 => {
                skip(&mut line, 1).await?;
                let count = line.read_u16().await?;
                skip(&mut line, u64::from(count) * 4).await?;
            }
            // FramebufferUpdateRequest
            3 => {
                let incremental = line.read_u8().await? != 0;
                let mut area = [0; 4];
                for side in &mut area {
                    *side = line.read_u16().await?;
                }
                if incremental {
                    tokio::time::sleep(FRAME).await;
                }
                line.write_all(&update(area, &format.pixel(colour))).await?;
            }
            // KeyEvent, PointerEvent
            4 => skip(&mut line, 7).await?,
            5 => skip(&mut line, 5).await?,
            // ClientCutText
            6 => {
                skip(&mut line, 3).await?;
                let length = line.read_u32().await?;
                skip(&mut line, u64::from(length)).await?;
            }
            _ => return Err(protocol("a message we do not know")),
        }
    }
}

/// Handshake and initialisation (RFC 6143 §7.1–7.3).
async fn greet(line: &mut (impl AsyncRead + AsyncWrite + Unpin), name: &str) -> Result<()> {
    line.write_all(b"RFB 003.008\n").await?;
    let mut version = [0; 12];
    line.read_exact(&mut version).await?;
    if &version != b"RFB 003.008\n" {
        return Err(protocol("not RFB 3.8"));
    }
    // One security type: 1, none.
    line.write_all(&[1, 1]).await?;
    if line.read_u8().await? != 1 {
        let why = "this console has no authentication";
        line.write_u32(1).await?;
        line.write_u32(u32::try_from(why.len()).unwrap_or_default()).await?;
        line.write_all(why.as_bytes()).await?;
        return Err(protocol("not the security type offered"));
    }
    line.write_u32(0).await?;
    // ClientInit: shared or not is the same to us.
    line.read_u8().await?;
    let mut init = [WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()].concat();
    init.extend(PixelFormat::NATIVE);
    init.extend(u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
    init.extend(name.as_bytes());
    line.write_all(&init).await
}

/// A FramebufferUpdate of one rectangle, cut to the screen.
fn update([x, y, width, height]: [u16; 4], pixel: &[u8]) -> Vec<u8> {
    let (x, y) = (x.min(WIDTH), y.min(HEIGHT));
    let (width, height) = (width.min(WIDTH - x), height.min(HEIGHT - y));
    let mut message = vec![0, 0, 0, 1];
    for side in [x, y, width, height] {
        message.extend(side.to_be_bytes());
    }
    // Encoding 0, raw.
    message.extend([0; 4]);
    message.extend(pixel.repeat(usize::from(width) * usize::from(height)));
    message
}

/// The machine's own colour: dark enough for a cursor to be seen, different from its neighbours'.
pub(super) fn colour(id: MachineId) -> [u8; 3] {
    let [.., red, green, blue] = id.0.into_bytes();
    [red, green, blue].map(|part| part / 2 + 32)
}

/// Reads and forgets; never holds what a client sends.
async fn skip(line: &mut (impl AsyncRead + Unpin), count: u64) -> Result<()> {
    let read = tokio::io::copy(&mut line.take(count), &mut tokio::io::sink()).await?;
    if read < count { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn protocol(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::{display, serial};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    async fn read(line: &mut DuplexStream, count: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        line.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    async fn connected() -> std::io::Result<DuplexStream> {
        let (mut near, far) = duplex(1 << 20);
        tokio::spawn(display(far, "web-1", [255, 128, 0]));
        assert_eq!(read(&mut near, 12).await?, b"RFB 003.008\n");
        near.write_all(b"RFB 003.008\n").await?;
        assert_eq!(read(&mut near, 2).await?, [1, 1]);
        near.write_all(&[1]).await?;
        assert_eq!(read(&mut near, 4).await?, [0; 4]);
        near.write_all(&[1]).await?;
        let init = read(&mut near, 24).await?;
        assert_eq!(init[..4], [1, 64, 0, 200]);
        assert_eq!(read(&mut near, 5).await?, b"web-1");
        Ok(near)
    }

    #[tokio::test]
    async fn shows_one_colour_in_the_clients_format() -> anyhow::Result<()> {
        let mut line = connected().await?;
        // Encodings, a key, the pointer, a clipboard; then the lower right corner, more than there is.
        line.write_all(&[2, 0, 0, 1, 0, 0, 0, 0]).await?;
        line.write_all(&[4, 1, 0, 0, 0, 0, 0, 65, 5, 0, 0, 9, 0, 9]).await?;
        line.write_all(&[6, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']).await?;
        line.write_all(&[3, 0, 1, 62, 0, 199, 255, 255, 255, 255]).await?;
        let head = read(&mut line, 16).await?;
        assert_eq!(head, [0, 0, 0, 1, 1, 62, 0, 199, 0, 2, 0, 1, 0, 0, 0, 0]);
        assert_eq!(read(&mut line, 8).await?, [0, 128, 255, 0, 0, 128, 255, 0]);
        // RGB 5-6-5, big endian.
        line.write_all(&[0, 0, 0, 0, 16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0]).await?;
        line.write_all(&[3, 0, 0, 0, 0, 0, 0, 1, 0, 1]).await?;
        assert_eq!(read(&mut line, 18).await?[16..], [0b1111_1011, 0b1110_0000]);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn incremental_updates_come_twice_a_second() -> anyhow::Result<()> {
        let mut line = connected().await?;
        let began = tokio::time::Instant::now();
        line.write_all(&[3, 1, 0, 0, 0, 0, 0, 1, 0, 1]).await?;
        read(&mut line, 20).await?;
        assert_eq!(began.elapsed(), super::FRAME);
        Ok(())
    }

    #[tokio::test]
    async fn hangs_up_on_nonsense() -> anyhow::Result<()> {
        let palette = [[0, 0, 0, 0, 8, 8, 0, 0].as_slice(), &[0; 12]].concat();
        for nonsense in [&[99][..], &palette] {
            let mut line = connected().await?;
            line.write_all(nonsense).await?;
            assert!(read(&mut line, 1).await.is_err());
        }
        Ok(())
    }

    #[tokio::test]
    async fn the_serial_line_greets_and_echoes() -> anyhow::Result<()> {
        let (mut near, far) = duplex(1024);
        let server = tokio::spawn(async move { serial(far, "web-1").await });
        let banner = read(&mut near, "\r\nSimulated Linux web-1 ttyS0\r\n\r\nweb-1 login: ".len()).await?;
        assert!(banner.ends_with(b"web-1 login: "));
        near.write_all(b"root\r").await?;
        assert_eq!(read(&mut near, 5).await?, b"root\r");
        drop(near);
        server.await??;
        Ok(())
    }
}
