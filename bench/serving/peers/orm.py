"""FastAPI and SQLAlchemy: domains with their candidates by `joinedload`, answers through Pydantic.

The candidates' order is the relationship's, so that one query gives both. PG* variables say where the database is.
"""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship, sessionmaker

engine = create_engine("postgresql+psycopg://", pool_size=10, max_overflow=0)
sessions = sessionmaker(engine)


class Base(DeclarativeBase):
    """All models."""


class GleifCandidate(Base):
    """A row of gleif_candidates; gleif_full_data is left out, as in our answers."""

    __tablename__ = "gleif_candidates"
    id: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[int | None] = mapped_column(ForeignKey("domains.id"))
    lei_code: Mapped[str | None]
    legal_name: Mapped[str | None]
    entity_status: Mapped[str | None]
    jurisdiction: Mapped[str | None]
    legal_form: Mapped[str | None]
    entity_category: Mapped[str | None]
    registration_status: Mapped[str | None]
    gleif_match_score: Mapped[float | None]
    weighted_score: Mapped[float | None]
    rank_position: Mapped[int | None]
    domain_tld_score: Mapped[float | None]
    fortune500_score: Mapped[float | None]
    name_match_score: Mapped[float | None]
    entity_complexity_score: Mapped[float | None]
    match_method: Mapped[str | None]
    selection_reason: Mapped[str | None]
    is_primary_selection: Mapped[bool | None]
    created_at: Mapped[datetime | None]


class Domain(Base):
    """A row of domains."""

    __tablename__ = "domains"
    id: Mapped[int] = mapped_column(primary_key=True)
    domain_hash: Mapped[str | None]
    domain: Mapped[str | None]
    status: Mapped[str | None]
    company_name: Mapped[str | None]
    extraction_method: Mapped[str | None]
    confidence_score: Mapped[float | None]
    guessed_country: Mapped[str | None]
    retry_count: Mapped[int | None]
    error_message: Mapped[str | None]
    failure_category: Mapped[str | None]
    technical_details: Mapped[str | None]
    extraction_attempts: Mapped[str | None]
    recommendation: Mapped[str | None]
    batch_id: Mapped[str | None]
    created_at: Mapped[datetime | None]
    processed_at: Mapped[datetime | None]
    processing_started_at: Mapped[datetime | None]
    processing_time_ms: Mapped[int | None]
    predicted_entity_category: Mapped[str | None]
    entity_category_confidence: Mapped[int | None]
    entity_category_indicators: Mapped[str | None]
    level2_attempted: Mapped[bool | None]
    level2_status: Mapped[str | None]
    level2_candidates_count: Mapped[int | None]
    level2_processing_time_ms: Mapped[int | None]
    primary_lei_code: Mapped[str | None]
    primary_gleif_name: Mapped[str | None]
    primary_selection_confidence: Mapped[int | None]
    selection_algorithm: Mapped[str | None]
    final_legal_name: Mapped[str | None]
    final_confidence: Mapped[int | None]
    final_extraction_method: Mapped[str | None]
    primary_business_description: Mapped[str | None]
    industry_context: Mapped[str | None]
    corporate_heritage: Mapped[str | None]
    business_scale: Mapped[str | None]
    corporate_structure: Mapped[str | None]
    hero_section_content: Mapped[str | None]
    about_section_summary: Mapped[str | None]
    business_focus_keywords: Mapped[str | None]
    geographic_presence: Mapped[str | None]
    corporate_timeline: Mapped[str | None]
    business_category: Mapped[str | None]
    business_subcategory: Mapped[str | None]
    market_position: Mapped[str | None]
    company_type: Mapped[str | None]
    content_sources: Mapped[str | None]
    extraction_timestamp: Mapped[datetime | None]
    content_quality_score: Mapped[int | None]
    manual_review_required: Mapped[bool | None]
    selection_notes: Mapped[str | None]
    candidates: Mapped[list[GleifCandidate]] = relationship(
        order_by=[GleifCandidate.rank_position.nulls_last(), GleifCandidate.id]
    )


class CandidateOut(BaseModel):
    """A candidate as JSON."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    domain_id: int | None
    lei_code: str | None
    legal_name: str | None
    entity_status: str | None
    jurisdiction: str | None
    legal_form: str | None
    entity_category: str | None
    registration_status: str | None
    gleif_match_score: float | None
    weighted_score: float | None
    rank_position: int | None
    domain_tld_score: float | None
    fortune500_score: float | None
    name_match_score: float | None
    entity_complexity_score: float | None
    match_method: str | None
    selection_reason: str | None
    is_primary_selection: bool | None
    created_at: datetime | None


class DomainOut(BaseModel):
    """A domain with its candidates as JSON."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    domain_hash: str | None
    domain: str | None
    status: str | None
    company_name: str | None
    extraction_method: str | None
    confidence_score: float | None
    guessed_country: str | None
    retry_count: int | None
    error_message: str | None
    failure_category: str | None
    technical_details: str | None
    extraction_attempts: str | None
    recommendation: str | None
    batch_id: str | None
    created_at: datetime | None
    processed_at: datetime | None
    processing_started_at: datetime | None
    processing_time_ms: int | None
    predicted_entity_category: str | None
    entity_category_confidence: int | None
    entity_category_indicators: str | None
    level2_attempted: bool | None
    level2_status: str | None
    level2_candidates_count: int | None
    level2_processing_time_ms: int | None
    primary_lei_code: str | None
    primary_gleif_name: str | None
    primary_selection_confidence: int | None
    selection_algorithm: str | None
    final_legal_name: str | None
    final_confidence: int | None
    final_extraction_method: str | None
    primary_business_description: str | None
    industry_context: str | None
    corporate_heritage: str | None
    business_scale: str | None
    corporate_structure: str | None
    hero_section_content: str | None
    about_section_summary: str | None
    business_focus_keywords: str | None
    geographic_presence: str | None
    corporate_timeline: str | None
    business_category: str | None
    business_subcategory: str | None
    market_position: str | None
    company_type: str | None
    content_sources: str | None
    extraction_timestamp: datetime | None
    content_quality_score: int | None
    manual_review_required: bool | None
    selection_notes: str | None
    candidates: list[CandidateOut]


def session() -> Session:
    """A session for a request."""
    with sessions() as opened:
        yield opened


OfRequest = Annotated[Session, Depends(session)]
app = FastAPI()


@app.get("/export/{batch_id}", response_model=list[DomainOut])
def export_batch(batch_id: str, session: OfRequest) -> list[Domain]:
    """A batch with all its candidates: one query, its rows made into objects."""
    query = select(Domain).where(Domain.batch_id == batch_id).order_by(Domain.id)
    return list(session.scalars(query.options(joinedload(Domain.candidates))).unique())


@app.get("/domains/{domain_id}/candidates", response_model=list[CandidateOut])
def list_candidates(domain_id: int, session: OfRequest) -> list[GleifCandidate]:
    """One domain's candidates in rank order."""
    domain = session.get(Domain, domain_id, options=[joinedload(Domain.candidates)])
    if domain is None:
        raise HTTPException(404)
    return domain.candidates


@app.get("/health")
def health() -> dict[str, str]:
    """It runs."""
    return {"status": "ok"}
