//! A ROM that asks a virtual CPU to do a little of everything a kernel needs, then to say so and leave.
//!
//! It runs without firmware, kernel or disk: real mode, protected mode, paging and long mode, three timer interrupts
//! with `hlt`, two million times a decrement and a jump, then it writes 0x10 to port 0xf4 (`isa-debug-exit` turns
//! that into exit status 33). On the way it prints a letter to port 0xe9 for each thing that works: `R P L I S`.

/// Size of the ROM.
const SIZE: usize = 64 << 10;

/// The code, which lies at the beginning. At byte 340 is the number of turns of the loop, little endian.
const CODE: &str = concat!(
    "fa8cc8ea080000f0b800f08ed8b052e6e9660f011698010f20c00c010f22c066ea27000f00080066b810008ed88ec08ed0bc",
    "00800000b050e6e9bf0010000031c0b9000c0000fcf3abc7050010000003200000c7050020000003300000bf00300000b883",
    "000000b9080000008907050000200083c708e2f4c7051820000003600000c705b86f00009300e0feb8001000000f22d80f20",
    "e083c8200f22e0b9800000c00f320d000100000f300f20c00d000000800f22c0eabd000f001800b04ce6e9bf00420000b867",
    "010f0066890766c74702180066c74704008ec1e8106689470648c747080000000066c7042500500000ff0f48c70425025000",
    "00004000000f011c2500500000b011e620b020e621b004e621b001e621b0fee621b034e643b0a9e640b004e640bf0000e0fe",
    "c787f0000000ff010000c7875003000000070000bc0080000031dbfbf483fb0372fafab049e6e9b980841e00ffc975fcb053",
    "e6e9b010e6f4f4ebfdffc350b020e6205848cf909090909090900000000000000000ffff0000009bcf00ffff00000093cf00",
    "ffff0000009baf001f0078010f00",
);

/// At the reset vector, 16 bytes before the end: a jump to the beginning.
const RESET: [u8; 3] = [0xe9, 0x0d, 0x00];

/// The whole ROM; what is neither code nor reset vector is `hlt`.
pub(super) fn probe_rom() -> Vec<u8> {
    let mut rom = vec![0xf4; SIZE];
    let code = hex::decode(CODE).unwrap_or_default();
    rom[..code.len()].copy_from_slice(&code);
    rom[SIZE - 16..SIZE - 13].copy_from_slice(&RESET);
    rom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rom_begins_with_code_and_ends_with_a_jump_to_it() {
        let rom = probe_rom();
        assert_eq!(rom.len(), 65536);
        assert_eq!(rom[..3], [0xfa, 0x8c, 0xc8]);
        assert_eq!(u32::from_le_bytes(rom[340..344].try_into().unwrap()), 2_000_000);
        assert_eq!(rom[0xfff0..0xfff3], RESET);
        assert_eq!(rom[0xfff3], 0xf4);
    }
}
