//! What any engine behind the [`Store`] port must do.
//!
//! The functions in these modules take a fresh, empty `dyn Store` and nothing of the engine; `conformance!` below
//! makes a test of each for each engine. What only concerns one engine is in `sqlite` and `postgres`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commits;
mod crowd;
mod events;
mod leases;
mod lists;
mod numbers;
mod postgres;
mod records;
mod sqlite;
mod state;

use hostler_core::ports::Store;
use hostler_store::SqliteStore;
use std::sync::Arc;

type Fresh = Arc<dyn Store>;

async fn fresh_sqlite() -> Option<Fresh> {
    Some(Arc::new(SqliteStore::temporary().await.unwrap()))
}

async fn fresh_postgres() -> Option<Fresh> {
    postgres::fresh().await
}

macro_rules! conformance {
    ($($module:ident { $($test:ident),* $(,)? })*) => {
        conformance!(fresh_sqlite, on_sqlite: $($module { $($test)* })*);
        conformance!(fresh_postgres, on_postgres: $($module { $($test)* })*);
    };
    ($fresh:ident, $engine:ident: $($module:ident { $($test:ident)* })*) => {
        mod $engine {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    // None where the engine is not installed.
                    if let Some(store) = crate::$fresh().await {
                        crate::$module::$test(store).await;
                    }
                })*
            })*
        }
    };
}

conformance! {
    commits {
        what_is_inserted_is_found,
        an_update_replaces_the_record_and_counts_its_version,
        a_deleted_record_is_gone,
        an_empty_commit_does_nothing,
        one_bad_alteration_undoes_the_whole_commit,
        a_version_that_has_passed_is_stale,
        values_that_must_be_unique_are_taken_once,
        a_machine_that_is_gone_leaves_its_name,
        alterations_happen_in_order,
        a_large_commit_is_still_one,
        a_record_that_must_be_unchanged_guards_the_commit,
        columns_that_core_does_not_have_are_refused,
        text_with_a_nul_is_refused_and_never_found,
    }
    numbers {
        numbers_are_dense_and_accounts_begin_at_three,
        a_number_that_is_brought_is_kept_and_passed,
        a_refused_commit_takes_no_number,
    }
    leases {
        a_claim_takes_what_is_due_earliest_first,
        a_claim_leaves_other_hosts_and_closed_tasks,
        a_claim_of_what_has_begun_leaves_what_is_queued,
        a_lease_that_ended_goes_to_the_next_with_a_new_epoch,
        renewing_prolongs_and_names_what_was_lost,
        a_lost_lease_fences_the_whole_commit,
        a_released_lease_is_free_and_fences,
        a_wish_to_cancel_reaches_the_holder,
        cancelling_makes_a_waiting_task_due,
        a_dead_workers_leases_are_given_up_at_once,
        the_next_due_task_counts_leases_and_hosts,
    }
    events {
        events_come_back_in_the_order_of_commits,
        subscribers_hear_what_is_committed_and_nothing_else,
        pruning_forgets_the_oldest,
    }
    crowd {
        sixty_four_writers_lose_no_increment,
        a_refused_commit_does_not_sink_its_neighbours,
        bounds_hold_whoever_shares_a_commit,
        an_abandoned_commit_is_whole,
        two_claimants_never_get_the_same_task,
    }
    lists {
        the_first_of_several_is_found,
        pages_counts_and_sums_match_the_evaluator,
        what_other_records_say_is_never_remembered,
        filters_as_large_as_people_may_write_them_are_answered,
        columns_that_do_not_exist_are_refused,
        text_is_searched_as_it_stands,
    }
}
