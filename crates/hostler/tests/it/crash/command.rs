//! What clients ask, drawn from chance alone: the same seed draws the same commands, whatever they are answered.

use super::chance::Chance;
use super::stage::Stage;

/// Something to ask. Volumes, templates and tasks are picked among those that were heard of by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Create { name: String, start: bool, keyed: bool },
    Power { name: String, verb: &'static str, force: bool },
    Label { name: String },
    Resize { name: String, vcpus: u64 },
    Delete { name: String },
    VolumeCreate { size_mib: u64, keyed: bool },
    VolumeAttach { volume: u64, name: String },
    VolumeDetach { volume: u64 },
    VolumeGrow { volume: u64, size_mib: u64 },
    VolumeDelete { volume: u64 },
    TemplateMake { keyed: bool },
    TemplateDelete { template: u64 },
    Cancel { task: u64 },
}

/// A command, and whether its client waits for what comes of it before the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub command: Command,
    pub wait: bool,
}

pub(crate) fn draw(chance: &mut Chance, stage: &Stage) -> Drawn {
    let name = format!("m{}", chance.below(stage.names));
    let (volume, keyed) = (chance.next(), chance.percent(50));
    let command = match chance.below(100) {
        0..26 => Command::Create { name, start: chance.percent(70), keyed },
        26..50 => {
            let verb =
                *chance.pick(&["start", "start", "stop", "stop", "restart", "reset", "pause", "resume"]);
            Command::Power { name, verb, force: matches!(verb, "stop" | "restart") && chance.percent(50) }
        }
        50..58 => Command::Label { name },
        58..61 => Command::Resize { name, vcpus: 1 + chance.below(2) },
        61..74 => Command::Delete { name },
        74..79 => Command::VolumeCreate { size_mib: 1 + chance.below(8), keyed },
        79..84 => Command::VolumeAttach { volume, name },
        84..87 => Command::VolumeDetach { volume },
        87..90 => Command::VolumeGrow { volume, size_mib: 1 + chance.below(64) },
        90..93 => Command::VolumeDelete { volume },
        93..95 => Command::TemplateMake { keyed },
        95..97 => Command::TemplateDelete { template: volume },
        _ => Command::Cancel { task: volume },
    };
    Drawn { command, wait: chance.percent(50) }
}

#[test]
fn the_same_seed_asks_the_same_and_everything_is_asked() {
    let all = |seed| {
        let mut chance = Chance::of(seed, &[0]);
        (0..400).map(|_| draw(&mut chance, &super::stage::SIMULATED)).collect::<Vec<_>>()
    };
    assert_eq!(all(3), all(3));
    let kinds: std::collections::BTreeSet<String> = all(3)
        .iter()
        .filter_map(|drawn| format!("{:?}", drawn.command).split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(kinds.len(), 13, "{kinds:?}");
}
