"""SQLAlchemy's ORM with joinedload, as the application's architecture note proposes; Parquet, a batch a file.

The ORM refuses to stream rows of a joined collection (yield_per), so ids are taken in ranges, a sample of them.
"""

import time
from typing import Any

import polars as pl
import psycopg
from sqlalchemy import MetaData, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Session, joinedload, relationship

from bench.peers.command import NOT_READ, arguments, tell

BATCH = 2000
SAMPLE = 20_000


class Base(DeclarativeBase):
    """Where the classes are kept."""


def map_tables(metadata: MetaData) -> tuple[type[Any], type[Any]]:
    """Classes of both tables, by their columns in the database."""
    parent, child = metadata.tables["domains"], metadata.tables["gleif_candidates"]

    class Candidate(Base):
        __table__ = child
        __mapper_args__ = {"exclude_properties": [NOT_READ]}  # noqa: RUF012

    class Domain(Base):
        __table__ = parent
        candidates = relationship(
            Candidate,
            primaryjoin=parent.c.id == child.c.domain_id,
            foreign_keys=child.c.domain_id,
            order_by=(child.c.rank_position, child.c.id),
            viewonly=True,
        )

    return Domain, Candidate


def joined(domain: Any, names: list[str]) -> dict[str, Any]:  # noqa: ANN401  a class made at run time
    """A row of domain_exports."""
    found = domain.candidates
    return {
        "domain_id": domain.id,
        **{name: getattr(domain, name) for name in names if name != "id"},
        "gleif_candidate_count": len(found),
        "all_lei_codes": "; ".join(c.lei_code for c in found),
        "all_legal_names": "; ".join(c.legal_name for c in found),
        "all_jurisdictions": "; ".join(c.jurisdiction or "" for c in found),
        "all_entity_statuses": "; ".join(c.entity_status or "" for c in found),
        "lei_codes": [c.lei_code for c in found],
    }


def main() -> None:
    """Load batches that lie evenly over the ids."""
    url, folder = arguments()
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    metadata = MetaData()
    metadata.reflect(engine, only=["domains", "gleif_candidates"])
    domain_class, candidate_class = map_tables(metadata)
    names = [column.name for column in domain_class.__table__.columns]
    of_candidate = [column.name for column in candidate_class.__table__.columns if column.name != NOT_READ]
    rows = {"domain_exports": 0, "candidate_exports": 0}
    with Session(engine) as session:
        last = session.scalar(select(func.max(domain_class.id))) or 0
        total = session.scalar(select(func.count()).select_from(domain_class)) or 1
        step = BATCH * max(1, last // SAMPLE)
        started = time.monotonic()
        for number, start in enumerate(range(1, last + 1, step)):
            wanted = (
                select(domain_class)
                .where(domain_class.id.between(start, start + BATCH - 1))
                .options(joinedload(domain_class.candidates))
            )
            domains = session.scalars(wanted).unique().all()
            exports = pl.DataFrame([joined(domain, names) for domain in domains], infer_schema_length=None)
            candidates = pl.DataFrame(
                [
                    {"domain": d.domain, "batch_id": d.batch_id, **{name: getattr(c, name) for name in of_candidate}}
                    for d in domains
                    for c in d.candidates
                ],
                infer_schema_length=None,
            )
            exports.write_parquet(folder / f"domain_exports-{number:05}.parquet")
            candidates.write_parquet(folder / f"candidate_exports-{number:05}.parquet")
            rows["domain_exports"] += exports.height
            rows["candidate_exports"] += candidates.height
            session.expunge_all()
        sampled = time.monotonic() - started
    tell(rows, share=rows["domain_exports"] / total, sampled_s=sampled)


if __name__ == "__main__":
    main()
