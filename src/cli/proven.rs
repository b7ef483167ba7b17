//! What is told of a lab that was brought back: as of `up`, its checks and where everything is.

use wplab::actions::awake::AwakeReport;

use super::{
    failure::Ending,
    render::{report, tables},
    session::Session,
    spell::command,
};

pub(super) fn tell(session: &Session, awake: &AwakeReport) -> Ending {
    let (terminal, name) = (&session.terminal, &awake.name);
    terminal.result(awake, |paint| report::awake(awake, paint));
    if terminal.verbose() {
        terminal.say(&tables::timings(&awake.timings));
    }
    let passed = awake.smoke.passed();
    terminal.next(&if passed {
        [(command("status --watch", name), "the lab as it lives"), (command("credentials", name), "the passwords")]
    } else {
        [(command("up", name), "repair it"), (command("diagnose", name), "see what went on")]
    });
    Ending::checked(passed)
}
