//! `health`: whether a running registry serves, for supervisors and container engines that can only run a program.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use super::client::Connection;
use super::failure::Failure;
use crate::grpc::LIVENESS;

#[derive(clap::Args)]
#[command(
    after_help = "It is the question that balancers ask, grpc.health.v1.Health/Check, and wants no role. \
                        Ends with 0 if the registry serves, else with 69."
)]
pub(super) struct Health {
    /// Ask whether the process answers at all, whatever its database does: what a restart can mend
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(health: Health) -> Result<(), Failure> {
    let client = health.connection.open().await?;
    let service = if health.live { LIVENESS } else { "" };
    let question = client.request(HealthCheckRequest { service: service.to_owned() });
    match client.health().check(question).await?.into_inner().status() {
        ServingStatus::Serving => {
            println!("serving");
            Ok(())
        }
        _ => Err(Failure::Unavailable("not serving".to_owned())),
    }
}
