//! The standard health service: readiness knows the database, liveness doesn't.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::SERVICES;
use crate::registry::Failure;
use crate::store::Store;

/// The service name under which liveness is asked: SERVING as long as the process answers at all. A restart doesn't
/// mend a database, so this must not depend on one.
pub const LIVENESS: &str = "liveness";

/// How often the database is asked for a sign of life.
const EVERY: Duration = Duration::from_secs(1);

/// What health checks are answered.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Not serving yet, but alive.
    pub async fn starting(reporter: HealthReporter) -> Self {
        let health = Self { reporter };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        health
    }

    async fn set(&self, status: ServingStatus) {
        for service in SERVICES.iter().chain(&[""]) {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// No longer serving: a balancer shall send nothing more.
    pub async fn draining(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Follows the database, for as long as the server runs.
    pub async fn follow(&self, store: &Store) {
        let mut was_serving = None;
        loop {
            // A pool that is all in use says nothing against the database: a busy replica must not be taken away.
            let serving = match store.ping(EVERY).await {
                Ok(()) => true,
                Err(Failure::Overloaded) => was_serving.unwrap_or(true),
                Err(_) => false,
            };
            if was_serving != Some(serving) {
                was_serving = Some(serving);
                self.set(if serving { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
                if serving {
                    tracing::info!("serving");
                } else {
                    tracing::warn!("not serving: the database doesn't answer");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}
